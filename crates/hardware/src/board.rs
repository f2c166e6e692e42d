//! What kind of machine this is: device tree first, then DMI, then the hypervisor's traces.

use crate::cpu;
use crate::inventory::{Architecture, Board, BoardKind};
use crate::tree::Tree;

const DEVICE_TREE: &str = "proc/device-tree";
const DMI: &str = "sys/class/dmi/id";

/// Boards by their most specific `compatible`: mainline device trees, then the vendors' own.
const BOARDS: &[(&str, BoardKind)] = &[
    ("xunlong,orangepi-5-plus", BoardKind::OrangePi5Plus),
    ("rockchip,rk3588-orangepi-5-plus", BoardKind::OrangePi5Plus),
    ("xunlong,orangepi-5b", BoardKind::OrangePi5b),
    ("rockchip,rk3588s-orangepi-5b", BoardKind::OrangePi5b),
    ("xunlong,orangepi-5", BoardKind::OrangePi5),
    ("rockchip,rk3588s-orangepi-5", BoardKind::OrangePi5),
    ("raspberrypi,5-model-b", BoardKind::RaspberryPi5),
    ("linux,dummy-virt", BoardKind::VirtualQemu),
];

/// Words in DMI strings that give a hypervisor away, most specific first.
const HYPERVISORS: &[(&str, BoardKind)] = &[
    ("vmware", BoardKind::VirtualVmware),
    ("virtualbox", BoardKind::VirtualVirtualbox),
    ("innotek", BoardKind::VirtualVirtualbox),
    ("qemu", BoardKind::VirtualQemu),
    ("kvm", BoardKind::VirtualQemu),
    ("bochs", BoardKind::VirtualQemu),
    ("openstack", BoardKind::VirtualQemu),
    ("kubevirt", BoardKind::VirtualQemu),
    ("google compute engine", BoardKind::VirtualQemu),
    ("hvm domu", BoardKind::VirtualXen),
    ("parallels", BoardKind::VirtualOther),
    ("bhyve", BoardKind::VirtualOther),
    ("apple virtualization", BoardKind::VirtualOther),
];

/// What makers leave in DMI when they fill in nothing.
const PLACEHOLDERS: &[&str] = &[
    "",
    "to be filled by o.e.m.",
    "system manufacturer",
    "system product name",
    "system version",
    "default string",
    "not applicable",
    "not specified",
    "none",
    "n/a",
    "o.e.m.",
    "oem",
    "invalid",
    "unknown",
    "type1productconfigid",
];

/// Reads the board.
pub fn read(tree: &Tree, cpuinfo: &cpu::Info) -> Board {
    let compatible = tree.strings(&format!("{DEVICE_TREE}/compatible"));
    // Arm servers and guests with ACPI have a device tree that only holds boot arguments.
    if !compatible.is_empty() {
        return from_device_tree(tree, compatible);
    }
    let dmi = Dmi::read(tree);
    let kind =
        hypervisor(tree, &dmi, cpuinfo).unwrap_or_else(|| match (dmi.is_empty(), cpuinfo.architecture()) {
            (true, _) => BoardKind::Unknown,
            (false, Architecture::X86_64) => BoardKind::GenericPc,
            (false, Architecture::Aarch64) => BoardKind::GenericArm,
        });
    let unnamed = if kind.is_virtual() { "Virtual machine" } else { "Computer" };
    let name = dmi.name().unwrap_or_else(|| unnamed.to_owned());
    Board { kind, name, vendor: dmi.vendor(), compatible }
}

fn from_device_tree(tree: &Tree, compatible: Vec<String>) -> Board {
    let model = tree.strings(&format!("{DEVICE_TREE}/model")).into_iter().next();
    let xen = tree.strings(&format!("{DEVICE_TREE}/hypervisor/compatible"));
    let known = BOARDS.iter().find(|(name, _)| compatible.iter().any(|entry| entry == name));
    let kind = match known {
        _ if xen.iter().any(|entry| entry.starts_with("xen,")) => BoardKind::VirtualXen,
        Some((_, kind)) => *kind,
        None => BoardKind::GenericArm,
    };
    let vendor = compatible.first().and_then(|entry| entry.split_once(',')).map(|(vendor, _)| vendor.into());
    let name = model.or_else(|| compatible.first().cloned()).unwrap_or_default();
    Board { kind, name, vendor, compatible }
}

fn hypervisor(tree: &Tree, dmi: &Dmi, cpuinfo: &cpu::Info) -> Option<BoardKind> {
    // Domain 0 of Xen is a real machine; its control flag tells it from a guest.
    let domain_0 = tree.text_if_told("proc/xen/capabilities").is_some_and(|text| text.contains("control_d"));
    if tree.text("sys/hypervisor/type").as_deref() == Some("xen") && !domain_0 {
        return Some(BoardKind::VirtualXen);
    }
    dmi.hypervisor().or_else(|| cpuinfo.has_flag("hypervisor").then_some(BoardKind::VirtualOther))
}

#[derive(Default)]
struct Dmi {
    sys_vendor: String,
    product_name: String,
    product_version: String,
    board_vendor: String,
    board_name: String,
    bios_vendor: String,
}

impl Dmi {
    fn read(tree: &Tree) -> Self {
        let field = |name: &str| tree.text(&format!("{DMI}/{name}")).unwrap_or_default();
        Self {
            sys_vendor: field("sys_vendor"),
            product_name: field("product_name"),
            product_version: field("product_version"),
            board_vendor: field("board_vendor"),
            board_name: field("board_name"),
            bios_vendor: field("bios_vendor"),
        }
    }

    fn is_empty(&self) -> bool {
        [&self.sys_vendor, &self.product_name, &self.board_vendor, &self.board_name, &self.bios_vendor]
            .iter()
            .all(|field| field.is_empty())
    }

    /// The name people know the machine by. Lenovo writes a part number where others write it.
    fn name(&self) -> Option<String> {
        let lenovo = self.sys_vendor.eq_ignore_ascii_case("lenovo");
        let order = if lenovo {
            [&self.product_version, &self.product_name, &self.board_name]
        } else {
            [&self.product_name, &self.board_name, &self.product_version]
        };
        order.into_iter().find(|name| is_real(name)).cloned()
    }

    fn vendor(&self) -> Option<String> {
        [&self.sys_vendor, &self.board_vendor].into_iter().find(|name| is_real(name)).cloned()
    }

    fn hypervisor(&self) -> Option<BoardKind> {
        if self.sys_vendor == "Microsoft Corporation" && self.product_name == "Virtual Machine" {
            return Some(BoardKind::VirtualHyperv);
        }
        if self.sys_vendor == "Xen" || self.bios_vendor == "Xen" {
            return Some(BoardKind::VirtualXen);
        }
        let fields = [&self.product_name, &self.sys_vendor, &self.board_vendor, &self.bios_vendor];
        let fields = fields.map(|field| field.to_lowercase());
        let known = HYPERVISORS.iter().find(|(word, _)| fields.iter().any(|field| has_word(field, word)));
        // Amazon's bare-metal machines carry the same vendor as its guests.
        let amazon =
            || self.sys_vendor == "Amazon EC2" && self.product_name.split('.').next_back() != Some("metal");
        known.map(|(_, kind)| *kind).or_else(|| amazon().then_some(BoardKind::VirtualQemu))
    }
}

/// Whether `word` begins a word of `text`: `Kvmax 3000` is a computer.
fn has_word(text: &str, word: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    let starts = |before: &str| !before.ends_with(|c: char| c.is_ascii_alphanumeric());
    text.match_indices(word).any(|(at, _)| starts(&text[..at]) && ends(&text[at + word.len()..]))
}

fn is_real(name: &str) -> bool {
    !PLACEHOLDERS.contains(&name.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dmi(sys_vendor: &str, product_name: &str, bios_vendor: &str) -> Dmi {
        Dmi {
            sys_vendor: sys_vendor.into(),
            product_name: product_name.into(),
            bios_vendor: bios_vendor.into(),
            ..Dmi::default()
        }
    }

    #[test]
    fn hypervisors_are_told_by_their_dmi_strings() {
        let cases = [
            ("QEMU", "Standard PC (Q35 + ICH9, 2009)", "SeaBIOS", Some(BoardKind::VirtualQemu)),
            ("Red Hat", "KVM", "SeaBIOS", Some(BoardKind::VirtualQemu)),
            ("VMware, Inc.", "VMware Virtual Platform", "Phoenix", Some(BoardKind::VirtualVmware)),
            ("VMware, Inc.", "VMware7,1", "VMware, Inc.", Some(BoardKind::VirtualVmware)),
            ("innotek GmbH", "VirtualBox", "innotek GmbH", Some(BoardKind::VirtualVirtualbox)),
            ("Microsoft Corporation", "Virtual Machine", "AMI", Some(BoardKind::VirtualHyperv)),
            ("Xen", "HVM domU", "Xen", Some(BoardKind::VirtualXen)),
            ("Amazon EC2", "m7i.large", "Amazon EC2", Some(BoardKind::VirtualQemu)),
            ("Amazon EC2", "m7i.metal", "Amazon EC2", None),
            ("Microsoft Corporation", "Surface Pro", "Microsoft Corporation", None),
            ("Dell Inc.", "OptiPlex 755", "Dell Inc.", None),
            ("Acme", "Kvmax 3000", "Acme", None),
        ];
        for (vendor, product, bios, expected) in cases {
            assert_eq!(dmi(vendor, product, bios).hypervisor(), expected, "{vendor} {product}");
        }
    }

    #[test]
    fn the_name_is_the_one_people_know() {
        let mut lenovo = dmi("LENOVO", "10MR001FGE", "LENOVO");
        lenovo.product_version = "ThinkCentre M710q".into();
        let mut built = dmi("To Be Filled By O.E.M.", "System Product Name", "AMI");
        built.board_name = "B550M PRO-VDH WIFI".into();
        built.board_vendor = "Micro-Star International Co., Ltd.".into();
        assert_eq!(lenovo.name().as_deref(), Some("ThinkCentre M710q"));
        assert_eq!(built.name().as_deref(), Some("B550M PRO-VDH WIFI"));
        assert_eq!(built.vendor().as_deref(), Some("Micro-Star International Co., Ltd."));
        assert_eq!(Dmi::default().name(), None);
    }
}
