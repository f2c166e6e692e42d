//! Neural processing units.

use crate::inventory::{Board, Npu};
use crate::names::Names;
use crate::pci;
use crate::platform::{self, Node};
use crate::tree::Tree;

/// PCI class of processing accelerators, such as Intel's NPU.
const PROCESSING_ACCELERATOR: u32 = 0x1200;
const INTEL: u16 = 0x8086;
const RK3588: &str = "RK3588 NPU";
/// The vendor kernel has one node for the three cores, mainline one for each.
const RK3588_NODES: &[&str] = &["rockchip,rk3588-rknpu", "rockchip,rk3588-rknn-core"];
/// Mainline's driver makes one node for the three cores, on a device of this name.
const RK3588_SHARED: &str = "rknn";

/// Whether the board has an RK3588 or RK3588S, which hold the same NPU and GPU.
pub fn is_rk3588(board: &Board) -> bool {
    board.compatible.iter().any(|entry| matches!(entry.as_str(), "rockchip,rk3588" | "rockchip,rk3588s"))
}

/// Reads every unit, also those that this kernel has no driver for.
pub fn read(
    tree: &Tree,
    board: &Board,
    pci: &[pci::Function],
    platform: &[platform::Device],
    names: &Names,
) -> Vec<Npu> {
    let mut nodes = platform::accel_nodes(tree);
    let mut npus = Vec::new();
    if is_rk3588(board) {
        npus.push(rk3588(tree, platform, &mut nodes));
    }
    for device in pci {
        let node = take(&mut nodes, |node| node.belongs_to(&device.path));
        if device.class >> 8 != PROCESSING_ACCELERATOR && node.is_none() {
            continue;
        }
        let kind = if device.vendor == INTEL { "Intel NPU" } else { "Accelerator" };
        npus.push(Npu {
            name: names
                .pci(device.vendor, device.device)
                .unwrap_or_else(|| format!("{kind} {}", device.id())),
            driver: device.driver.clone(),
            device_node: node.map(|node| node.path),
        });
    }
    npus.extend(nodes.into_iter().map(|node| {
        let driver = tree.link_name(&format!("{}/driver", node.device));
        let name = format!("Accelerator {}", node.name);
        Npu { name, driver, device_node: Some(node.path) }
    }));
    npus
}

/// The three cores work as one unit. Kernels before 6.18 have no node for it in their device tree,
/// yet the silicon is there.
fn rk3588(tree: &Tree, platform: &[platform::Device], nodes: &mut Vec<Node>) -> Npu {
    let cores: Vec<_> = platform.iter().filter(|device| device.is(RK3588_NODES)).collect();
    let mine = |node: &Node| {
        let last = node.device.rsplit('/').next().unwrap_or("");
        last.split('.').next() == Some(RK3588_SHARED) || cores.iter().any(|core| node.belongs_to(&core.path))
    };
    let accel = take(nodes, mine).map(|node| node.path);
    // The vendor's driver is a graphics driver, or with older kernels a device of its own.
    let render = || {
        let all = platform::render_nodes(tree);
        let node = all.into_iter().find(|node| cores.iter().any(|core| node.belongs_to(&core.path)));
        node.map(|node| node.path)
    };
    let misc = || tree.exists("sys/class/misc/rknpu").then(|| "/dev/rknpu".to_owned());
    Npu {
        name: RK3588.into(),
        driver: cores.iter().find_map(|core| core.driver.clone()),
        device_node: accel.or_else(render).or_else(misc),
    }
}

fn take(nodes: &mut Vec<Node>, which: impl Fn(&Node) -> bool) -> Option<Node> {
    let at = nodes.iter().position(which)?;
    Some(nodes.remove(at))
}
