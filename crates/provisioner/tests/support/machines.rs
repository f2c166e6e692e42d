//! Inventories of machines the product meets, read from the fixtures of `hardware`.

use actionbooster_hardware::Inventory;
use actionbooster_hardware::fixture::{
    OLD_PC, ORANGE_PI_5, ORANGE_PI_5_PLUS, PC_AMD, PC_NVIDIA, QEMU_VM, RASPBERRY_PI_5, expand,
};

fn read(fixture: &str) -> Inventory {
    let root = tempfile::tempdir().unwrap();
    expand(fixture, root.path()).unwrap();
    Inventory::read(root.path()).unwrap()
}

pub fn orange_pi_5() -> Inventory {
    read(ORANGE_PI_5)
}

pub fn orange_pi_5_plus() -> Inventory {
    read(ORANGE_PI_5_PLUS)
}

pub fn raspberry_pi_5() -> Inventory {
    read(RASPBERRY_PI_5)
}

pub fn amd_pc() -> Inventory {
    read(PC_AMD)
}

pub fn nvidia_pc() -> Inventory {
    read(PC_NVIDIA)
}

pub fn old_pc() -> Inventory {
    read(OLD_PC)
}

pub fn qemu_vm() -> Inventory {
    read(QEMU_VM)
}

/// 4 GB, AVX2, nothing special, nothing missing.
pub fn plain_pc() -> Inventory {
    let mut inventory = amd_pc();
    inventory.memory.total_bytes = 3_800 << 20;
    inventory.gpus.clear();
    inventory.disks.clear();
    inventory.missing_firmware.clear();
    inventory
}
