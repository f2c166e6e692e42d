//! Whether the hardware is still what it was at the last run.

use actionbooster_hardware::{DiskBus, Inventory};
use serde::{Deserialize, Serialize};

use crate::text::{Text, memory_text};

/// Firmware and kernel updates move a few megabytes; a memory module moves more than this.
const MEMORY_STEP: u64 = 256 << 20;

/// What is remembered of the hardware: only what a screwdriver changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    board: String,
    processor: String,
    memory_bytes: u64,
    accelerators: Vec<String>,
    disks: Vec<String>,
    interfaces: Vec<String>,
}

impl Remembered {
    /// What to remember of an inventory.
    pub fn of(inventory: &Inventory) -> Self {
        let npus = inventory.npus.iter().map(|npu| npu.name.clone());
        let gpus = inventory.gpus.iter().map(|gpu| match &gpu.pci_id {
            Some(id) => format!("{} [{id}]", gpu.name),
            None => gpu.name.clone(),
        });
        let mut accelerators: Vec<_> = npus.chain(gpus).collect();
        let built_in = |bus| !matches!(bus, DiskBus::Usb);
        let mut disks: Vec<_> = inventory
            .disks
            .iter()
            .filter(|disk| built_in(disk.bus) && !disk.removable)
            .map(|disk| format!("{} ({} GB)", disk.model, disk.size_bytes / 1_000_000_000))
            .collect();
        let mut interfaces: Vec<_> =
            inventory.interfaces.iter().filter_map(|interface| interface.mac.clone()).collect();
        accelerators.sort();
        disks.sort();
        interfaces.sort();
        Self {
            board: inventory.board.name.clone(),
            processor: format!("{} ({})", inventory.cpu.model, inventory.cpu.logical_cpus),
            memory_bytes: inventory.memory.total_bytes,
            accelerators,
            disks,
            interfaces,
        }
    }
}

/// What changed since the last run, for people; empty when nothing did.
pub fn changes(before: &Remembered, now: &Remembered) -> Vec<Text> {
    let mut all = Vec::new();
    if before.board != now.board {
        all.push(Text::new(
            format!("The machine was {} and is {}.", before.board, now.board),
            format!("El equipo era {} y es {}.", before.board, now.board),
        ));
    }
    if before.processor != now.processor {
        all.push(Text::new(
            format!("The processor was {} and is {}.", before.processor, now.processor),
            format!("El procesador era {} y es {}.", before.processor, now.processor),
        ));
    }
    if before.memory_bytes.abs_diff(now.memory_bytes) >= MEMORY_STEP {
        let (old, new) = (memory_text(before.memory_bytes), memory_text(now.memory_bytes));
        all.push(Text::new(
            format!("Memory was {} and is {}.", old.en, new.en),
            format!("La memoria era de {} y es de {}.", old.es, new.es),
        ));
    }
    let lists = [
        (&before.accelerators, &now.accelerators, "accelerator", "el acelerador"),
        (&before.disks, &now.disks, "disk", "el disco"),
        (&before.interfaces, &now.interfaces, "network port", "el puerto de red"),
    ];
    for (old, new, en, es) in lists {
        all.extend(without(new, old).map(|item| {
            Text::new(format!("There is a new {en}: {item}."), format!("Es nuevo {es} {item}."))
        }));
        all.extend(
            without(old, new).map(|item| {
                Text::new(format!("The {en} {item} is gone."), format!("Ya no está {es} {item}."))
            }),
        );
    }
    all
}

fn without<'a>(all: &'a [String], taken: &'a [String]) -> impl Iterator<Item = &'a String> {
    all.iter().filter(move |item| !taken.contains(item))
}
