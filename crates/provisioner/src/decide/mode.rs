//! Which mode, and why.

use actionbooster_hardware::{CpuFeatures, GpuVendor, InterfaceKind, Inventory};
use actionbooster_settings::{Address, Settings};
use serde::{Deserialize, Serialize};

use crate::data::{Accelerator, Feature, MemoryRule, ModeName, Modes, Rule};
use crate::text::{Text, memory_text};

/// The chosen mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModePlan {
    /// Which.
    pub name: ModeName,
    /// Its name for people.
    pub title: Text,
    /// Why.
    pub reasons: Vec<Text>,
    /// Whether this machine is worth joining to others.
    pub cluster_capable: bool,
}

/// Chooses the mode, with the rule for memory that comes with it.
pub fn choose(inventory: &Inventory, settings: &Settings, data: &Modes) -> (ModePlan, MemoryRule) {
    let reasons = |rules: &[Rule]| -> Vec<Text> {
        rules.iter().filter_map(|rule| holds(rule, inventory, settings)).collect()
    };
    let (mode, reasons) = data
        .modes
        .iter()
        .map(|mode| (mode, reasons(&mode.rules)))
        .find(|(_, reasons)| !reasons.is_empty())
        .or_else(|| {
            let mode = data.modes.iter().find(|mode| mode.name == data.fallback.mode)?;
            Some((mode, vec![data.fallback.reason.clone()]))
        })
        .unwrap_or_else(|| (&data.modes[0], vec![data.fallback.reason.clone()]));
    let capable = data.cluster_capable;
    let wired = inventory.interfaces.iter().any(|interface| interface.kind == InterfaceKind::Ethernet);
    let cluster_capable =
        inventory.memory.total_bytes >= capable.memory_from_mib << 20 && (wired || !capable.wired);
    (ModePlan { name: mode.name, title: mode.title.clone(), reasons, cluster_capable }, mode.memory)
}

/// The reason, if every condition of the rule holds.
fn holds(rule: &Rule, inventory: &Inventory, settings: &Settings) -> Option<Text> {
    let total = inventory.memory.total_bytes;
    let mut device = None;
    if let Some(kind) = rule.accelerator {
        device = Some(usable(kind, inventory)?);
    }
    if let Some(bus) = rule.disk {
        let disk = inventory.disks.iter().find(|disk| disk.bus == bus)?;
        let name = if disk.model.is_empty() { &disk.device_node } else { &disk.model };
        device = Some(name.clone());
    }
    let conditions = [
        rule.memory_below_mib.is_none_or(|mib| total < mib << 20),
        rule.memory_from_mib.is_none_or(|mib| total >= mib << 20),
        rule.architecture.is_none_or(|architecture| architecture == inventory.cpu.architecture),
        rule.lacks.is_none_or(|feature| !has(inventory.cpu.features, feature)),
        rule.joined.is_none_or(|joined| joined != settings.join.is_empty()),
    ];
    conditions.iter().all(|condition| *condition).then(|| {
        rule.reason
            .with("memory", &memory_text(total))
            .with("cpu", &Text::same(&inventory.cpu.model))
            .with("device", &Text::same(device.unwrap_or_default()))
            .with(
                "nodes",
                &Text::same(settings.join.iter().map(Address::as_str).collect::<Vec<_>>().join(", ")),
            )
    })
}

fn usable(kind: Accelerator, inventory: &Inventory) -> Option<String> {
    match kind {
        Accelerator::Npu => {
            inventory.npus.iter().find(|npu| npu.device_node.is_some()).map(|npu| npu.name.clone())
        }
        Accelerator::Gpu => inventory
            .gpus
            .iter()
            .find(|gpu| gpu.render_node.is_some() && gpu.vendor != GpuVendor::Virtual)
            .map(|gpu| gpu.name.clone()),
    }
}

const fn has(features: CpuFeatures, feature: Feature) -> bool {
    match feature {
        Feature::Avx2 => features.avx2,
        Feature::Avx512 => features.avx512,
        Feature::Fma => features.fma,
        Feature::F16c => features.f16c,
        Feature::Dotprod => features.dotprod,
        Feature::I8mm => features.i8mm,
        Feature::Fp16 => features.fp16,
    }
}
