//! Whole disks, and which of them the system was started from.

use std::collections::BTreeMap;

use crate::inventory::{Disk, DiskBus};
use crate::tree::Tree;

/// `size` counts these whatever the disk's own sectors are.
const SECTOR_BYTES: u64 = 512;
/// SCSI type of optical drives.
const SCSI_OPTICAL: u64 = 5;
/// How many layers (LVM on RAID on encryption) are followed down to a disk.
const DEEPEST: usize = 8;

/// Reads every disk with a medium in it.
pub fn read(tree: &Tree) -> Vec<Disk> {
    let names: Vec<String> = tree.list("sys/block").into_iter().filter(|name| is_disk(tree, name)).collect();
    let system = system_disks(tree, &names);
    names.iter().filter_map(|name| disk(tree, name, system.contains(name))).collect()
}

fn is_disk(tree: &Tree, name: &str) -> bool {
    let folder = format!("sys/block/{name}");
    // Loop devices, zRAM, RAID and LVM have no device behind them.
    let has_device = tree.exists(&format!("{folder}/device"));
    let boot_area = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    // Optical and floppy drives, and the flash chip that holds the firmware.
    let drive = ["sr", "fd", "mtd"].iter().any(|prefix| name.starts_with(prefix))
        || tree.text_if_told(&format!("{folder}/device/type")).and_then(|kind| kind.parse().ok())
            == Some(SCSI_OPTICAL);
    let hidden = tree.text_if_told(&format!("{folder}/hidden")).as_deref() == Some("1");
    has_device && !boot_area && !drive && !hidden
}

fn disk(tree: &Tree, name: &str, system: bool) -> Option<Disk> {
    let folder = format!("sys/block/{name}");
    let size = format!("{folder}/size");
    // A card reader without a card has size 0.
    let sectors = tree.number(&size).filter(|sectors| *sectors > 0)?;
    let Some(size_bytes) = sectors.checked_mul(SECTOR_BYTES) else {
        tree.warn(&size, "no disk is that large");
        return None;
    };
    let bus = bus(tree, name);
    let flag = tree.text_if_told(&format!("{folder}/removable")).as_deref() == Some("1");
    Some(Disk {
        device_node: format!("/dev/{}", name.replace('!', "/")),
        model: model(tree, &folder, bus),
        bus,
        size_bytes,
        removable: flag || matches!(bus, DiskBus::Sd | DiskBus::Usb),
        system,
    })
}

fn bus(tree: &Tree, name: &str) -> DiskBus {
    let path = tree.real(&format!("sys/block/{name}")).unwrap_or_default();
    let has = |prefix: &str| path.split('/').any(|part| part.starts_with(prefix));
    if has("usb") {
        return DiskBus::Usb;
    }
    if name.starts_with("nvme") {
        return DiskBus::Nvme;
    }
    if name.starts_with("mmcblk") {
        return match tree.text(&format!("sys/block/{name}/device/type")).as_deref() {
            Some("SD") => DiskBus::Sd,
            Some("MMC") => DiskBus::Emmc,
            _ => DiskBus::Other,
        };
    }
    if has("virtio") || has("vbd-") || has("VMBUS") || name.starts_with("xvd") {
        return DiskBus::Virtio;
    }
    if name.starts_with("sd") { DiskBus::Sata } else { DiskBus::Other }
}

/// SCSI splits vendor and model; for SATA the vendor is only the word `ATA`.
fn model(tree: &Tree, folder: &str, bus: DiskBus) -> String {
    let field = |name: &str| tree.text_if_told(&format!("{folder}/device/{name}"));
    match bus {
        DiskBus::Sd | DiskBus::Emmc => field("name").unwrap_or_default(),
        DiskBus::Nvme => field("model").unwrap_or_default(),
        // A virtio disk's number would be its model otherwise.
        DiskBus::Virtio if field("model").is_none() => String::new(),
        _ => {
            let vendor = field("vendor").filter(|vendor| vendor != "ATA" && !vendor.starts_with("0x"));
            let parts: Vec<String> = [vendor, field("model")].into_iter().flatten().collect();
            parts.join(" ")
        }
    }
}

/// The disks below the root file system. What is mounted is surest; in an initrd or on a root that
/// is no block device, the kernel's command line names the slot.
fn system_disks(tree: &Tree, disks: &[String]) -> Vec<String> {
    let mounts = tree.lines("proc/self/mountinfo");
    for point in ["/", "/usr", "/var"] {
        let found = mounted_at(&mounts, point).map(|mount| below(tree, &mount)).unwrap_or_default();
        if !found.is_empty() {
            return found;
        }
    }
    let partitions = partitions(tree, disks);
    let wishes = wishes(&tree.lines("proc/cmdline"));
    for wish in wishes {
        let mut found: Vec<String> =
            partitions.iter().filter(|part| wish.is(part)).map(|part| part.disk.clone()).collect();
        found.dedup();
        // A stick with the same image has partitions of the same names: rather none than the wrong one.
        if found.len() == 1 {
            return found;
        }
    }
    Vec::new()
}

#[derive(Debug, PartialEq)]
struct Mount {
    number: String,
    source: String,
}

/// The last mount at a point covers those before it.
fn mounted_at(mountinfo: &str, point: &str) -> Option<Mount> {
    let lines = mountinfo.lines().rev();
    lines.filter_map(parse_mount).find(|(at, _)| at == point).map(|(_, mount)| mount)
}

fn parse_mount(line: &str) -> Option<(String, Mount)> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ');
    let number = fields.nth(2)?.to_owned();
    let point = fields.nth(1)?.to_owned();
    let source = after.split(' ').nth(1)?.to_owned();
    Some((point, Mount { number, source }))
}

fn below(tree: &Tree, mount: &Mount) -> Vec<String> {
    let plain = mount.number.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    let by_number = plain.then(|| tree.real(&format!("sys/dev/block/{}", mount.number))).flatten();
    // btrfs and others have no device number of their own; their source names one.
    let by_name = || {
        let name = mount.source.strip_prefix("/dev/")?;
        tree.real(&format!("sys/class/block/{}", name.replace('/', "!")))
    };
    let mut found = Vec::new();
    if let Some(path) = by_number.or_else(by_name) {
        disks_of(tree, &path, DEEPEST, &mut found);
    }
    found
}

/// Follows partitions to their disk and layers to what they are made of.
fn disks_of(tree: &Tree, path: &str, deepest: usize, found: &mut Vec<String>) {
    let Some((folder, name)) = path.rsplit_once('/') else { return };
    let slaves = tree.list(&format!("{path}/slaves"));
    if tree.exists(&format!("{path}/partition")) {
        let disk = folder.rsplit('/').next().unwrap_or(folder).to_owned();
        found.push(disk);
    } else if slaves.is_empty() {
        found.push(name.to_owned());
    }
    for slave in slaves {
        let real = tree.real(&format!("{path}/slaves/{slave}"));
        if let Some(real) = real.filter(|_| deepest > 0) {
            disks_of(tree, &real, deepest - 1, found);
        }
    }
}

struct Partition {
    disk: String,
    name: String,
    fields: BTreeMap<String, String>,
}

fn partitions(tree: &Tree, disks: &[String]) -> Vec<Partition> {
    let mut found = Vec::new();
    for disk in disks {
        let folder = format!("sys/block/{disk}");
        for name in tree.list(&folder) {
            if tree.exists(&format!("{folder}/{name}/partition")) {
                let fields = tree.uevent(&format!("{folder}/{name}"));
                found.push(Partition { disk: disk.clone(), name, fields });
            }
        }
    }
    found
}

#[derive(Debug, PartialEq)]
enum Wish {
    Uuid(String),
    Label(String),
    Name(String),
}

impl Wish {
    fn is(&self, part: &Partition) -> bool {
        match self {
            Self::Uuid(uuid) => part.fields.get("PARTUUID").is_some_and(|own| own.eq_ignore_ascii_case(uuid)),
            Self::Label(label) => part.fields.get("PARTNAME") == Some(label),
            Self::Name(name) => part.name == *name || part.disk == *name,
        }
    }
}

/// What the command line says about the root, surest first. Our own boot loader names the
/// partition and the slot.
fn wishes(cmdline: &str) -> Vec<Wish> {
    let value = |key: &str| {
        cmdline
            .split_whitespace()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            .map(str::to_owned)
    };
    let root = value("root").and_then(|root| {
        if let Some(uuid) = root.strip_prefix("PARTUUID=") {
            Some(Wish::Uuid(uuid.into()))
        } else if let Some(label) = root.strip_prefix("PARTLABEL=") {
            Some(Wish::Label(label.into()))
        } else {
            root.strip_prefix("/dev/").map(|name| Wish::Name(name.into()))
        }
    });
    let uuid = value("actionbooster.partition").map(Wish::Uuid);
    let slot = value("actionbooster.slot").map(|slot| Wish::Label(format!("root-{}", slot.to_lowercase())));
    [uuid, root, slot].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_at_a_point_is_the_one_in_use() {
        let text = "22 1 0:2 / / rw - rootfs rootfs rw\n\
                    25 22 254:2 / / ro,relatime shared:1 - squashfs /dev/vda2 ro\n\
                    26 25 254:4 /var /var rw shared:2 master:1 - ext4 /dev/vda4 rw\n\
                    garbage\n\n1 2\n";
        let mount = |number: &str, source: &str| Mount { number: number.into(), source: source.into() };
        assert_eq!(mounted_at(text, "/"), Some(mount("254:2", "/dev/vda2")));
        assert_eq!(mounted_at(text, "/var"), Some(mount("254:4", "/dev/vda4")));
        assert_eq!(mounted_at(text, "/usr"), None);
    }

    #[test]
    fn the_command_line_names_the_root_in_several_ways() {
        let cases = [
            ("quiet root=/dev/sda2 ro", vec![Wish::Name("sda2".into())]),
            ("root=PARTLABEL=root-a", vec![Wish::Label("root-a".into())]),
            (
                "actionbooster.slot=B actionbooster.partition=AB-1 rauc.slot=B",
                vec![Wish::Uuid("AB-1".into()), Wish::Label("root-b".into())],
            ),
            ("rootwait root=UUID=x", vec![]),
            ("", vec![]),
        ];
        for (cmdline, expected) in cases {
            assert_eq!(wishes(cmdline), expected, "{cmdline}");
        }
    }
}
