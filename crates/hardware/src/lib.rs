//! What this machine is: the inventory, read through udev, sysfs, procfs, the device tree and DMI.
//!
//! Everything is read below a root folder, so the walk that serves the running machine also replays
//! a machine from a folder. No single device can make it fail: what cannot be read is left out and
//! named in [`Survey::warnings`].

mod board;
mod cpu;
mod cpu_list;
mod disks;
mod firmware;
#[cfg(feature = "fixtures")]
pub mod fixture;
mod gpu;
mod inventory;
mod media;
mod memory;
mod names;
mod network;
mod npu;
mod pci;
mod platform;
mod security;
mod survey;
mod tree;

pub use cpu_list::{CpuList, NotCpus};
pub use inventory::*;
pub use survey::{Error, Survey, survey};
