//! The partitions the kernel knows, and which of them are ours.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::gpt::{Guid, HEADER_BYTES, Header};

/// A partition, as far as the kernel and the partition table describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Kernel name, such as `nvme0n1p2`.
    pub name: String,
    /// Kernel name of the disk it is on.
    pub disk: String,
    /// Label in the partition table.
    pub label: String,
    /// Number in the partition table, from 1.
    pub number: usize,
    /// First sector, in units of 512 bytes.
    pub start_sectors: u64,
    /// Length, in units of 512 bytes.
    pub length_sectors: u64,
}

impl Partition {
    /// Path of its device node.
    pub fn device(&self) -> String {
        format!("/dev/{}", self.name)
    }
}

/// All labelled partitions, in order of their names.
pub fn scan(sys: &Path) -> Vec<Partition> {
    let entries = fs::read_dir(sys.join("class/block")).into_iter().flatten().flatten();
    let mut found: Vec<Partition> = entries.filter_map(|entry| read(&entry.path())).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn read(folder: &Path) -> Option<Partition> {
    let uevent = fs::read_to_string(folder.join("uevent")).ok()?;
    let field = |key: &str| uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
    // The folder is a link into the device tree, where a partition lies below its disk.
    let disk = fs::canonicalize(folder).ok()?.parent()?.file_name()?.to_str()?.to_owned();
    Some(Partition {
        name: field("DEVNAME")?.to_owned(),
        disk,
        label: field("PARTNAME")?.to_owned(),
        number: field("PARTN")?.parse().ok()?,
        start_sectors: number("start")?,
        length_sectors: number("size")?,
    })
}

/// Length of a disk in units of 512 bytes.
pub fn disk_sectors(sys: &Path, disk: &str) -> Option<u64> {
    fs::read_to_string(sys.join("class/block").join(disk).join("size")).ok()?.trim().parse().ok()
}

/// The GUID of a partition, read from the table on its disk.
pub fn guid(sys: &Path, dev: &Path, partition: &Partition) -> Option<Guid> {
    let queue = sys.join("class/block").join(&partition.disk).join("queue/logical_block_size");
    let block_bytes: u64 = fs::read_to_string(queue).ok()?.trim().parse().ok()?;
    let disk = File::open(dev.join(&partition.disk)).ok()?;
    let mut block = [0; HEADER_BYTES];
    disk.read_exact_at(&mut block, block_bytes).ok()?;
    let header = Header::parse(&block)?;
    let mut table = vec![0; header.table_bytes()];
    disk.read_exact_at(&mut table, header.entries_block.checked_mul(block_bytes)?).ok()?;
    header.guid(&table, partition.number)
}

/// The partition with `label`; of several, the one with the GUID that GRUB saw, else the first.
pub fn choose<'a>(
    partitions: &'a [Partition],
    label: &str,
    wanted: Option<Guid>,
    guid_of: impl Fn(&Partition) -> Option<Guid>,
) -> Option<&'a Partition> {
    let mut named = partitions.iter().filter(|partition| partition.label == label).peekable();
    let first = *named.peek()?;
    let exact = wanted.and_then(|wanted| named.find(|partition| guid_of(partition) == Some(wanted)));
    Some(exact.unwrap_or(first))
}

/// The partition with `label` on one disk.
pub fn on_disk<'a>(partitions: &'a [Partition], disk: &str, label: &str) -> Option<&'a Partition> {
    partitions.iter().find(|partition| partition.disk == disk && partition.label == label)
}

/// The udev rule that gives our partitions names of their own.
///
/// Labels are not unique across disks (a second flashed stick, a PC's own ESP), so mounts and RAUC
/// go by these links.
pub fn udev_rules(partitions: &[Partition], disk: &str) -> String {
    let ours = partitions.iter().filter(|partition| partition.disk == disk);
    ours.map(|partition| {
        format!(
            "SUBSYSTEM==\"block\", KERNEL==\"{}\", SYMLINK+=\"actionbooster/{}\"\n",
            partition.name, partition.label
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(name: &str, disk: &str, label: &str) -> Partition {
        Partition {
            name: name.into(),
            disk: disk.into(),
            label: label.into(),
            number: 2,
            start_sectors: 2048,
            length_sectors: 4096,
        }
    }

    #[test]
    fn of_two_flashed_disks_the_one_grub_came_from_is_chosen() {
        let partitions = [partition("sda2", "sda", "root-a"), partition("sdb2", "sdb", "root-a")];
        let grub = Guid::parse("3dd7e1c0-6d5a-4c40-8b4a-5f1f0c2f7f3b");
        let other = Guid::parse("00000000-6d5a-4c40-8b4a-5f1f0c2f7f3b");
        let guid_of = |partition: &Partition| if partition.disk == "sdb" { grub } else { other };
        assert_eq!(choose(&partitions, "root-a", grub, guid_of).unwrap().name, "sdb2");
        assert_eq!(choose(&partitions, "root-a", None, guid_of).unwrap().name, "sda2");
        assert_eq!(choose(&partitions, "root-a", grub, |_| None).unwrap().name, "sda2");
        assert_eq!(choose(&partitions, "root-b", grub, guid_of), None);
    }

    #[test]
    fn partitions_are_read_from_sysfs() {
        let sys = tempfile::tempdir().unwrap();
        let folder = sys.path().join("devices/virtio0/block/vda/vda2");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(sys.path().join("class/block")).unwrap();
        for (name, text) in [
            ("uevent", "MAJOR=254\nMINOR=2\nDEVNAME=vda2\nDEVTYPE=partition\nPARTN=2\nPARTNAME=root-a\n"),
            ("start", "534528\n"),
            ("size", "2097152\n"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        std::os::unix::fs::symlink(&folder, sys.path().join("class/block/vda2")).unwrap();
        std::os::unix::fs::symlink(folder.parent().unwrap(), sys.path().join("class/block/vda")).unwrap();
        let found = scan(sys.path());
        assert_eq!(found, [Partition {
            start_sectors: 534_528,
            length_sectors: 2_097_152,
            ..partition("vda2", "vda", "root-a")
        }]);
    }

    #[test]
    fn links_are_made_for_our_disk_only() {
        let partitions = [partition("sda1", "sda", "esp"), partition("nvme0n1p1", "nvme0n1", "esp")];
        let rules = udev_rules(&partitions, "sda");
        assert_eq!(rules, "SUBSYSTEM==\"block\", KERNEL==\"sda1\", SYMLINK+=\"actionbooster/esp\"\n");
    }
}
