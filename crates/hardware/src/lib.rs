//! What this machine is: the inventory, read through udev, sysfs, procfs, the device tree and DMI.

mod inventory;

pub use inventory::*;
