//! How memory is shared out.

use std::collections::BTreeMap;

use actionbooster_hardware::Inventory;
use serde::{Deserialize, Serialize};

use crate::data::{MemoryRule, Modes};

/// Shares of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// Main memory as the kernel counts it.
    pub total_bytes: u64,
    /// Compressed swap in memory, in whole mebibytes.
    pub zram_bytes: u64,
    /// `vm.swappiness`.
    pub swappiness: u8,
    /// What all loaded models together may take.
    pub model_budget_bytes: u64,
    /// What each daemon may take.
    pub daemon_limits: BTreeMap<String, u64>,
}

/// Sizes every share.
pub fn size(inventory: &Inventory, rule: &MemoryRule, data: &Modes) -> MemoryPlan {
    let total = inventory.memory.total_bytes;
    let mib = total >> 20;
    let zram_mib = (mib * rule.zram_percent / 100).min(rule.zram_max_mib);
    let free_mib = mib.saturating_sub(data.reserve.of(total) >> 20);
    let daemon_limits = data.daemons.iter().map(|(name, share)| (name.clone(), share.of(total))).collect();
    MemoryPlan {
        total_bytes: total,
        zram_bytes: zram_mib << 20,
        swappiness: rule.swappiness,
        model_budget_bytes: (free_mib * rule.budget_percent / 100) << 20,
        daemon_limits,
    }
}
