//! Who may use which accelerator.

use actionbooster_hardware::{GpuVendor, Inventory};
use serde::{Deserialize, Serialize};

/// Debian gives render and accelerator nodes to this group.
const RENDER: &str = "render";

/// A device node handed to programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Device node, such as `/dev/dri/renderD128`.
    pub device: String,
    /// What it is, for people.
    pub name: String,
    /// Groups that open it.
    pub groups: Vec<String>,
    /// Programs that get it.
    pub given_to: Vec<String>,
}

/// Hands every usable accelerator to the programs that hold models: runners, and the worker.
pub fn grant(inventory: &Inventory, groups: &[String]) -> Vec<Grant> {
    let mut nodes: Vec<(String, &str)> = Vec::new();
    for npu in &inventory.npus {
        nodes.extend(npu.device_node.clone().map(|node| (node, npu.name.as_str())));
    }
    for gpu in inventory.gpus.iter().filter(|gpu| gpu.vendor != GpuVendor::Virtual) {
        nodes.extend(gpu.render_node.clone().map(|node| (node, gpu.name.as_str())));
        match gpu.driver.as_deref() {
            Some("amdgpu") => nodes.push(("/dev/kfd".into(), &gpu.name)),
            Some("nvidia") => nodes.extend(
                ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0"]
                    .map(|node| (node.into(), gpu.name.as_str())),
            ),
            _ => {}
        }
    }
    nodes.sort();
    nodes.dedup_by(|one, other| one.0 == other.0);
    let usable: Vec<String> = groups.iter().filter(|group| *group == RENDER).cloned().collect();
    nodes
        .into_iter()
        .filter(|(node, _)| is_plain_node(node))
        .map(|(device, name)| Grant {
            device,
            name: name.to_owned(),
            groups: usable.clone(),
            given_to: vec!["runner".into(), "worker".into()],
        })
        .collect()
}

/// The node ends up in a unit file, where a space or a line break would change its meaning.
fn is_plain_node(node: &str) -> bool {
    node.starts_with("/dev/")
        && node.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_'))
}
