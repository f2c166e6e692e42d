//! The partitions the kernel knows, and which of them are ours.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::disk::{Disk, SECTOR_BYTES};
use crate::gpt::{Guid, Table};

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

type Tables = BTreeMap<String, Option<(u64, Table)>>;

fn read(folder: &Path, sys: &Path, dev: &Path, tables: &mut Tables) -> Option<Partition> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let place = usize::try_from(number("partition")?).ok()?;
    // The folder is a link into the device tree, where a partition lies below its disk.
    let disk = fs::canonicalize(folder).ok()?.parent()?.file_name()?.to_str()?.to_owned();
    let table = tables.entry(disk.clone()).or_insert_with(|| {
        let disk = Disk::open(sys, dev, &disk)?;
        Some((disk.block_bytes, disk.table()?))
    });
    let (block_bytes, table) = table.as_ref()?;
    let entry = table.entry(place)?;
    let start_sectors = number("start")?;
    // Where the kernel saw another table than the one that is there now, names would be mixed up.
    if entry.start_block.checked_mul(*block_bytes)? / SECTOR_BYTES != start_sectors {
        return None;
    }
    Some(Partition {
        name: folder.file_name()?.to_str()?.to_owned(),
        disk,
        label: entry.label,
        guid: entry.guid,
        start_sectors,
        length_sectors: number("size")?,
    })
}

/// The partition with `label` on one disk.
pub fn on_disk<'a>(partitions: &'a [Partition], disk: &str, label: &str) -> Option<&'a Partition> {
    partitions.iter().find(|partition| partition.disk == disk && partition.label == label)
}

/// Whether another disk has a partition with the GUID of one of this disk's: both were written from
/// one image, or one is a copy of the other.
pub fn has_twin(partitions: &[Partition], disk: &str) -> bool {
    let (own, others): (Vec<_>, Vec<_>) = partitions.iter().partition(|partition| partition.disk == disk);
    own.iter().any(|partition| others.iter().any(|other| other.guid == partition.guid))
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
pub(crate) mod tests {
    use super::*;
    use crate::disk::tests::{LAST, Machine};

    const ONE: &str = "3dd7e1c0-6d5a-4c40-8b4a-5f1f0c2f7f3b";
    const OTHER: &str = "00000000-6d5a-4c40-8b4a-5f1f0c2f7f3b";

    pub(crate) fn partition(name: &str, disk: &str, label: &str, guid: &str) -> Partition {
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
    fn a_disk_with_a_guid_of_another_one_has_a_twin() {
        let own = partition("sda2", "sda", "root-a", ONE);
        for (others, expected) in [
            (vec![], false),
            (vec![partition("sda3", "sda", "root-b", ONE)], false),
            (vec![partition("sdb2", "sdb", "root-a", OTHER)], false),
            (vec![partition("sdb2", "sdb", "root-a", OTHER), partition("sdc7", "sdc", "data", ONE)], true),
        ] {
            let all = [vec![own.clone()], others].concat();
            assert_eq!(has_twin(&all, "sda"), expected, "{all:?}");
        }
    }

    #[test]
    fn partitions_are_found_even_if_only_the_copy_of_the_table_is_left() {
        for damaged in [LAST, 1] {
            let machine = Machine::new("root-a");
            machine.damage(damaged, 50);
            let found = scan(&machine.sys, &machine.dev);
            assert_eq!(found.len(), 1, "without the table in block {damaged}");
            assert_eq!((found[0].name.as_str(), found[0].disk.as_str()), ("vda2", "vda"));
            assert_eq!((found[0].label.as_str(), found[0].start_sectors), ("root-a", 34));
        }
    }

    #[test]
    fn a_disk_without_a_valid_table_has_no_partitions_of_ours() {
        let machine = Machine::new("root-a");
        for block in [1, LAST] {
            machine.damage(block, 50);
        }
        assert_eq!(scan(&machine.sys, &machine.dev), []);
    }

    #[test]
    fn a_partition_that_the_kernel_sees_elsewhere_is_not_ours() {
        let machine = Machine::new("root-a");
        fs::write(machine.sys.join("class/block/vda2/start"), "35\n").unwrap();
        assert_eq!(scan(&machine.sys, &machine.dev), []);
    }

    #[test]
    fn links_are_made_for_our_disk_only() {
        let partitions =
            [partition("sda1", "sda", "esp", ONE), partition("nvme0n1p1", "nvme0n1", "esp", ONE)];
        let rules = udev_rules(&partitions, "sda");
        assert_eq!(rules, "SUBSYSTEM==\"block\", KERNEL==\"sda1\", SYMLINK+=\"actionbooster/esp\"\n");
    }
}
