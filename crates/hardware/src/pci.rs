//! Devices on PCI.

use crate::tree::Tree;

/// A PCI function.
pub struct Function {
    /// Where it is in sysfs, links resolved.
    pub path: String,
    /// Such as `0000:03:00.0`.
    pub address: String,
    /// Class, subclass and interface: `0x030000` is a VGA controller.
    pub class: u32,
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Kernel driver bound to it.
    pub driver: Option<String>,
}

impl Function {
    /// `vendor:device` as lspci writes it.
    pub fn id(&self) -> String {
        format!("{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// Every function whose numbers can be read.
pub fn functions(tree: &Tree) -> Vec<Function> {
    let names = tree.list("sys/bus/pci/devices");
    names.into_iter().filter_map(|address| function(tree, address)).collect()
}

fn function(tree: &Tree, address: String) -> Option<Function> {
    let path = tree.real(&format!("sys/bus/pci/devices/{address}"))?;
    let class = tree.hexadecimal(&format!("{path}/class"))?;
    let number =
        |name: &str| tree.hexadecimal(&format!("{path}/{name}")).and_then(|id| u16::try_from(id).ok());
    let (vendor, device) = (number("vendor")?, number("device")?);
    let driver = tree.link_name(&format!("{path}/driver"));
    Some(Function { path, address, class, vendor, device, driver })
}
