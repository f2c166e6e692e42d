//! Devices that the device tree names, and the nodes that drivers make for them.

use crate::tree::Tree;

/// A platform device with a node in the device tree.
pub struct Device {
    /// Where it is in sysfs, links resolved.
    pub path: String,
    /// Its `compatible` strings, most specific first.
    pub compatible: Vec<String>,
    /// Kernel driver bound to it.
    pub driver: Option<String>,
}

impl Device {
    /// Whether it is one of these.
    pub fn is(&self, names: &[&str]) -> bool {
        self.compatible.iter().any(|entry| names.contains(&entry.as_str()))
    }
}

/// Every platform device that has a node in the device tree.
pub fn devices(tree: &Tree) -> Vec<Device> {
    let folder = "sys/bus/platform/devices";
    let names = tree.list(folder);
    let device = |name: String| {
        let path = tree.real(&format!("{folder}/{name}"))?;
        let compatible = tree.strings(&format!("{path}/of_node/compatible"));
        let driver = tree.link_name(&format!("{path}/driver"));
        (!compatible.is_empty()).then_some(Device { path, compatible, driver })
    };
    names.into_iter().filter_map(device).collect()
}

/// A device node of a class, with the device in sysfs it belongs to.
pub struct Node {
    /// Such as `/dev/dri/renderD128`.
    pub path: String,
    /// Name in the class.
    pub name: String,
    /// The device's folder in sysfs, links resolved.
    pub device: String,
}

impl Node {
    /// Whether it was made for the device at this place in sysfs.
    pub fn belongs_to(&self, device: &str) -> bool {
        self.device.strip_prefix(device).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Render nodes of graphics processors.
pub fn render_nodes(tree: &Tree) -> Vec<Node> {
    nodes(tree, "sys/class/drm", "renderD", "/dev/dri")
}

/// Nodes of compute accelerators.
pub fn accel_nodes(tree: &Tree) -> Vec<Node> {
    nodes(tree, "sys/class/accel", "accel", "/dev/accel")
}

fn nodes(tree: &Tree, class: &str, prefix: &str, folder: &str) -> Vec<Node> {
    let numbered = |name: &String| {
        let number = name.strip_prefix(prefix).unwrap_or("");
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let node = |name: String| {
        let device = tree.real(&format!("{class}/{name}/device"))?;
        Some(Node { path: format!("{folder}/{name}"), name, device })
    };
    tree.list(class).into_iter().filter(numbered).filter_map(node).collect()
}
