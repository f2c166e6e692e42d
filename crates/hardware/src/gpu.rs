//! Graphics processors: on PCI by class, on Arm boards by the device tree.

use crate::inventory::{Board, Gpu, GpuVendor};
use crate::names::Names;
use crate::platform::{self, Node};
use crate::tree::{Tree, clean};
use crate::{npu, pci};

/// PCI base class of display controllers.
const DISPLAY: u32 = 0x03;
const MALI: &[&str] = &[
    "rockchip,rk3588-mali",
    "arm,mali-valhall-csf",
    "arm,mali-valhall-jm",
    "arm,mali-bifrost",
    "arm,mali-midgard",
    "arm,mali-450",
    "arm,mali-400",
];
const VIDEOCORE_7: &[&str] = &["brcm,2712-v3d"];

/// Reads every graphics processor, also those without a driver.
pub fn read(
    tree: &Tree,
    board: &Board,
    pci: &[pci::Function],
    platform: &[platform::Device],
    names: &Names,
) -> Vec<Gpu> {
    let nodes = platform::render_nodes(tree);
    let cards = pci.iter().filter(|device| device.class >> 16 == DISPLAY);
    let cards = cards.map(|device| card(tree, device, &nodes, names));
    let built_in = platform.iter().filter_map(|device| built_in(board, device, &nodes));
    cards.chain(built_in).collect()
}

fn card(tree: &Tree, device: &pci::Function, nodes: &[Node], names: &Names) -> Gpu {
    let vendor = vendor(device.vendor);
    let name = nvidia_name(tree, &device.address)
        .or_else(|| names.pci(device.vendor, device.device))
        .unwrap_or_else(|| format!("{} {}", label(vendor), device.id()));
    Gpu {
        name,
        vendor,
        pci_id: Some(device.id()),
        driver: device.driver.clone(),
        render_node: node_of(nodes, &device.path),
        vram_bytes: tree.number(&format!("{}/mem_info_vram_total", device.path)),
    }
}

fn built_in(board: &Board, device: &platform::Device, nodes: &[Node]) -> Option<Gpu> {
    let (name, vendor) = if device.is(MALI) {
        (if npu::is_rk3588(board) { "Mali-G610" } else { "Arm Mali" }, GpuVendor::Arm)
    } else if device.is(VIDEOCORE_7) {
        ("VideoCore VII", GpuVendor::Other)
    } else {
        return None;
    };
    Some(Gpu {
        name: name.into(),
        vendor,
        pci_id: None,
        driver: device.driver.clone(),
        render_node: node_of(nodes, &device.path),
        vram_bytes: None,
    })
}

fn node_of(nodes: &[Node], device: &str) -> Option<String> {
    nodes.iter().find(|node| node.belongs_to(device)).map(|node| node.path.clone())
}

/// NVIDIA's own driver names its cards.
fn nvidia_name(tree: &Tree, address: &str) -> Option<String> {
    let text = tree.lines(&format!("proc/driver/nvidia/gpus/{address}/information"));
    let name = text.lines().find_map(|line| line.strip_prefix("Model:")).map(clean)?;
    Some(name).filter(|name| !name.is_empty())
}

/// Who makes a display controller; hypervisors use these numbers for the ones they emulate.
fn vendor(id: u16) -> GpuVendor {
    match id {
        0x1002 | 0x1022 => GpuVendor::Amd,
        0x10de => GpuVendor::Nvidia,
        0x8086 => GpuVendor::Intel,
        // Cirrus, Bochs, Hyper-V, VMware, virtio, QXL, VirtualBox.
        0x1013 | 0x1234 | 0x1414 | 0x15ad | 0x1af4 | 0x1b36 | 0x80ee => GpuVendor::Virtual,
        _ => GpuVendor::Other,
    }
}

fn label(vendor: GpuVendor) -> &'static str {
    match vendor {
        GpuVendor::Amd => "AMD graphics",
        GpuVendor::Nvidia => "NVIDIA graphics",
        GpuVendor::Intel => "Intel graphics",
        GpuVendor::Arm => "Arm graphics",
        GpuVendor::Virtual => "Virtual display",
        GpuVendor::Other => "Display controller",
    }
}
