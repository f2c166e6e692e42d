//! The partitions the kernel knows, and which of them are ours.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::gpt::{Guid, HEADER_BYTES, Header};

/// The unit of lengths in sysfs, whatever the disk's own blocks are.
const SECTOR_BYTES: u64 = 512;

/// A partition, as the kernel and the partition table describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Kernel name, such as `nvme0n1p2`.
    pub name: String,
    /// Kernel name of the disk it is on.
    pub disk: String,
    /// Label in the partition table.
    pub label: String,
    /// GUID in the partition table.
    pub guid: Guid,
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

/// All partitions on disks with a GUID partition table, in order of their names.
pub fn scan(sys: &Path, dev: &Path) -> Vec<Partition> {
    let entries = fs::read_dir(sys.join("class/block")).into_iter().flatten().flatten();
    let mut tables = BTreeMap::new();
    let mut found: Vec<Partition> =
        entries.filter_map(|entry| read(&entry.path(), sys, dev, &mut tables)).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

type Tables = BTreeMap<String, Option<(Header, Vec<u8>)>>;

fn read(folder: &Path, sys: &Path, dev: &Path, tables: &mut Tables) -> Option<Partition> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let place = usize::try_from(number("partition")?).ok()?;
    // The folder is a link into the device tree, where a partition lies below its disk.
    let disk = fs::canonicalize(folder).ok()?.parent()?.file_name()?.to_str()?.to_owned();
    let table = tables.entry(disk.clone()).or_insert_with(|| table(sys, dev, &disk));
    let (header, bytes) = table.as_ref()?;
    let entry = header.entry(bytes, place)?;
    Some(Partition {
        name: folder.file_name()?.to_str()?.to_owned(),
        disk,
        label: entry.label,
        guid: entry.guid,
        start_sectors: number("start")?,
        length_sectors: number("size")?,
    })
}

/// A disk's partition table: the first one, or its copy at the end of the disk.
fn table(sys: &Path, dev: &Path, disk: &str) -> Option<(Header, Vec<u8>)> {
    let queue = sys.join("class/block").join(disk).join("queue/logical_block_size");
    let block_bytes: u64 = fs::read_to_string(queue).ok()?.trim().parse().ok()?;
    let blocks = disk_sectors(sys, disk)?.checked_mul(SECTOR_BYTES)?.checked_div(block_bytes)?;
    let file = File::open(dev.join(disk)).ok()?;
    [1, blocks.checked_sub(1)?].into_iter().find_map(|place| {
        let mut block = [0; HEADER_BYTES];
        file.read_exact_at(&mut block, place.checked_mul(block_bytes)?).ok()?;
        let header = Header::parse(&block)?;
        let mut bytes = vec![0; header.table_bytes()];
        file.read_exact_at(&mut bytes, header.entries_block.checked_mul(block_bytes)?).ok()?;
        Some((header, bytes))
    })
}

/// Length of a disk in units of 512 bytes.
pub fn disk_sectors(sys: &Path, disk: &str) -> Option<u64> {
    fs::read_to_string(sys.join("class/block").join(disk).join("size")).ok()?.trim().parse().ok()
}

/// The partition with `label`; of several, the one with the GUID that GRUB saw, else the first.
pub fn choose<'a>(partitions: &'a [Partition], label: &str, wanted: Option<Guid>) -> Option<&'a Partition> {
    let named = || partitions.iter().filter(|partition| partition.label == label);
    named().find(|partition| Some(partition.guid) == wanted).or_else(|| named().next())
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
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    const ONE: &str = "3dd7e1c0-6d5a-4c40-8b4a-5f1f0c2f7f3b";
    const OTHER: &str = "00000000-6d5a-4c40-8b4a-5f1f0c2f7f3b";

    fn partition(name: &str, disk: &str, label: &str, guid: &str) -> Partition {
        Partition {
            name: name.into(),
            disk: disk.into(),
            label: label.into(),
            guid: Guid::parse(guid).unwrap(),
            start_sectors: 2048,
            length_sectors: 4096,
        }
    }

    #[test]
    fn of_two_flashed_disks_the_one_grub_came_from_is_chosen() {
        let partitions = [partition("sda2", "sda", "root-a", OTHER), partition("sdb2", "sdb", "root-a", ONE)];
        for (label, wanted, expected) in [
            ("root-a", Guid::parse(ONE), Some("sdb2")),
            ("root-a", Guid::parse(OTHER), Some("sda2")),
            ("root-a", None, Some("sda2")),
            ("root-a", Guid::parse(&ONE.replace('3', "4")), Some("sda2")),
            ("root-b", Guid::parse(ONE), None),
        ] {
            let chosen = choose(&partitions, label, wanted).map(|partition| partition.name.as_str());
            assert_eq!(chosen, expected, "{label} {wanted:?}");
        }
    }

    /// A disk of 64 blocks with one partition labelled `root-a`, its table at `place`.
    fn machine(place: usize) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (sys, dev) = (folder.path().join("sys"), folder.path().join("dev"));
        let disk = sys.join("devices/virtio0/block/vda");
        fs::create_dir_all(disk.join("vda1")).unwrap();
        fs::create_dir_all(disk.join("queue")).unwrap();
        fs::create_dir_all(sys.join("class/block")).unwrap();
        fs::create_dir_all(&dev).unwrap();
        for (name, text) in [
            ("size", "64\n"),
            ("queue/logical_block_size", "512\n"),
            ("vda1/partition", "1\n"),
            ("vda1/start", "34\n"),
            ("vda1/size", "8\n"),
        ] {
            fs::write(disk.join(name), text).unwrap();
        }
        symlink(&disk, sys.join("class/block/vda")).unwrap();
        symlink(disk.join("vda1"), sys.join("class/block/vda1")).unwrap();
        let mut image = vec![0; 64 * 512];
        let header = place * 512;
        image[header..header + 8].copy_from_slice(b"EFI PART");
        image[header + 72] = 2;
        image[header + 80] = 4;
        image[header + 84] = 128;
        image[1024] = 1;
        for (at, unit) in "root-a".encode_utf16().enumerate() {
            image[1024 + 56 + at * 2] = unit.to_le_bytes()[0];
        }
        fs::write(dev.join("vda"), image).unwrap();
        (folder, sys, dev)
    }

    #[test]
    fn partitions_are_found_even_if_only_the_copy_of_the_table_is_left() {
        for place in [1, 63] {
            let (_folder, sys, dev) = machine(place);
            let found = scan(&sys, &dev);
            assert_eq!(found.len(), 1, "table in block {place}");
            assert_eq!((found[0].name.as_str(), found[0].disk.as_str()), ("vda1", "vda"));
            assert_eq!((found[0].label.as_str(), found[0].start_sectors), ("root-a", 34));
        }
    }

    #[test]
    fn a_disk_without_a_table_has_no_partitions_of_ours() {
        let (_folder, sys, dev) = machine(20);
        assert_eq!(scan(&sys, &dev), []);
    }

    #[test]
    fn links_are_made_for_our_disk_only() {
        let partitions =
            [partition("sda1", "sda", "esp", ONE), partition("nvme0n1p1", "nvme0n1", "esp", ONE)];
        let rules = udev_rules(&partitions, "sda");
        assert_eq!(rules, "SUBSYSTEM==\"block\", KERNEL==\"sda1\", SYMLINK+=\"actionbooster/esp\"\n");
    }
}
