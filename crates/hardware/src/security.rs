//! Trusted platform module, watchdogs, virtualisation.

use crate::inventory::{Tpm, Watchdog};
use crate::tree::Tree;

/// A timer in the kernel dies with the kernel it should watch.
const SOFTWARE_WATCHDOG: &str = "Software Watchdog";

/// Reads the first TPM.
pub fn tpm(tree: &Tree) -> Option<Tpm> {
    let folder = "sys/class/tpm";
    let name = tree.list(folder).into_iter().find(|name| name.starts_with("tpm"))?;
    // Only TPM 2.0 has the kernel's resource manager.
    let managed = name.replacen("tpm", "tpmrm", 1);
    let has_manager = tree.exists(&format!("sys/class/tpmrm/{managed}"));
    let version = tree.number(&format!("{folder}/{name}/tpm_version_major"));
    let version = version.filter(|version| matches!(version, 1 | 2));
    Some(Tpm {
        device_node: format!("/dev/{}", if has_manager { managed } else { name }),
        version_major: version.map_or(if has_manager { 2 } else { 1 }, |version| version as u8),
    })
}

/// Reads the hardware watchdogs.
pub fn watchdogs(tree: &Tree) -> Vec<Watchdog> {
    let folder = "sys/class/watchdog";
    let watchdog = |name: String| {
        let identity = tree.text(&format!("{folder}/{name}/identity")).unwrap_or_default();
        (identity != SOFTWARE_WATCHDOG).then(|| Watchdog { device_node: format!("/dev/{name}"), identity })
    };
    tree.list(folder).into_iter().filter_map(watchdog).collect()
}

/// Whether KVM works here. The node alone says nothing: it is made on every machine, so that
/// opening it loads the module.
pub fn kvm(tree: &Tree) -> bool {
    tree.exists("sys/class/misc/kvm")
}
