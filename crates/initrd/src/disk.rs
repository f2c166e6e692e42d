//! A whole disk, and the partition tables on it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::gpt::{Guid, Header, PRIMARY, Table};

/// The unit of lengths in sysfs, whatever the disk's own blocks are.
pub const SECTOR_BYTES: u64 = 512;

/// Where new GUIDs come from. It waits until the kernel has something to make them of.
pub const RANDOM: &str = "/dev/random";

/// The partition whose attributes say how the data partition is to be made. It is on the disk for as long as the
/// system is.
const MARKED: &str = "root-a";
const TO_BE_ENCRYPTED: u64 = 1 << 56;

/// A disk that can be read.
pub struct Disk {
    file: File,
    path: PathBuf,
    /// Bytes of a logical block.
    pub block_bytes: u64,
    last_block: u64,
}

impl Disk {
    /// Opens a disk by its kernel name; `None` when it is gone or tells nothing about itself.
    pub fn open(sys: &Path, dev: &Path, name: &str) -> Option<Self> {
        let path = dev.join(name);
        Self::over(File::open(&path).ok()?, path, sys, name)
    }

    /// The same, to be written to.
    pub fn open_for_writing(sys: &Path, dev: &Path, name: &str) -> Result<Self, Error> {
        let path = dev.join(name);
        let file =
            OpenOptions::new().read(true).write(true).open(&path).map_err(Error::file("open", &path))?;
        Self::over(file, path, sys, name).ok_or_else(|| Error::NoTable { disk: name.to_owned() })
    }

    fn over(file: File, path: PathBuf, sys: &Path, name: &str) -> Option<Self> {
        let queue = sys.join("class/block").join(name).join("queue/logical_block_size");
        let block_bytes: u64 = fs::read_to_string(queue).ok()?.trim().parse().ok()?;
        let bytes = sectors(sys, name)?.checked_mul(SECTOR_BYTES)?;
        let last_block = bytes.checked_div(block_bytes)?.checked_sub(1)?;
        Some(Self { file, path, block_bytes, last_block })
    }

    /// The table that the kernel goes by: the first one, or else its copy in the last block.
    pub fn table(&self) -> Option<Table> {
        [PRIMARY, self.last_block].into_iter().find_map(|place| self.table_at(place))
    }

    /// Gives the disk and each of its partitions a new GUID.
    pub fn renew_guids(&self, fresh: impl FnMut() -> io::Result<Guid>) -> Result<(), Error> {
        self.rewrite(|table| table.with_new_guids(fresh).map_err(Error::file("read", RANDOM)))
    }

    /// Whether the owner wants the data partition of this disk encrypted, whenever it is made.
    pub fn is_to_be_encrypted(&self) -> bool {
        let marked = self.table().and_then(|table| table.labelled(MARKED));
        marked.is_some_and(|entry| entry.attributes & TO_BE_ENCRYPTED != 0)
    }

    /// Writes that down, in the partition table: between the data partition that goes and the one that comes
    /// there is no other place that a power cut leaves as it was.
    pub fn mark_to_be_encrypted(&self) -> Result<(), Error> {
        self.rewrite(|table| table.with_attributes(MARKED, TO_BE_ENCRYPTED).ok_or_else(|| self.no_table()))
    }

    /// Puts another table in place of this one.
    ///
    /// The copy is written first and has reached the disk before the first table is begun, so that
    /// one of the two is valid whenever the power goes. All entries of our disks are in one block:
    /// what GRUB reads, which checks no sum, is the old table or the new one as well.
    fn rewrite(&self, change: impl FnOnce(&Table) -> Result<Table, Error>) -> Result<(), Error> {
        let first = self.table_at(PRIMARY).ok_or_else(|| self.no_table())?;
        let copy = self.table_at(first.header.other_block);
        let changed = change(&first)?;
        let copy = copy.and_then(|copy| copy.with_content_of(&changed)).ok_or_else(|| self.no_table())?;
        self.write(first.header.other_block, &copy)?;
        self.write(PRIMARY, &changed)
    }

    fn no_table(&self) -> Error {
        Error::NoTable { disk: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned() }
    }

    fn table_at(&self, place: u64) -> Option<Table> {
        let mut block = vec![0; usize::try_from(self.block_bytes).ok()?];
        self.file.read_exact_at(&mut block, place.checked_mul(self.block_bytes)?).ok()?;
        let header = Header::parse(&block, place, self.last_block)?;
        let mut entries = vec![0; header.table_bytes()];
        self.file.read_exact_at(&mut entries, header.entries_block.checked_mul(self.block_bytes)?).ok()?;
        Table::new(header, entries)
    }

    fn write(&self, place: u64, table: &Table) -> Result<(), Error> {
        let entries = table.header.entries_block.saturating_mul(self.block_bytes);
        let header = place.saturating_mul(self.block_bytes);
        let written = self.file.write_all_at(table.entries_bytes(), entries);
        let written = written.and_then(|()| self.file.write_all_at(table.header_bytes(), header));
        written.and_then(|()| self.file.sync_all()).map_err(Error::file("write", &self.path))
    }
}

/// Length of a disk in units of 512 bytes.
pub fn sectors(sys: &Path, disk: &str) -> Option<u64> {
    fs::read_to_string(sys.join("class/block").join(disk).join("size")).ok()?.trim().parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::gpt::tests::table;

    pub(crate) const LAST: u64 = 63;

    /// A machine with one disk `vda` of 64 blocks, whose second partition `vda2` has `label`.
    pub(crate) struct Machine {
        _folder: tempfile::TempDir,
        pub sys: PathBuf,
        pub dev: PathBuf,
    }

    impl Machine {
        pub(crate) fn new(label: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (sys, dev) = (folder.path().join("sys"), folder.path().join("dev"));
            let disk = sys.join("devices/virtio0/block/vda");
            fs::create_dir_all(disk.join("vda2")).unwrap();
            fs::create_dir_all(disk.join("queue")).unwrap();
            fs::create_dir_all(sys.join("class/block")).unwrap();
            fs::create_dir_all(&dev).unwrap();
            for (name, text) in [
                ("size", "64\n"),
                ("queue/logical_block_size", "512\n"),
                ("vda2/partition", "2\n"),
                ("vda2/start", "34\n"),
                ("vda2/size", "8\n"),
            ] {
                fs::write(disk.join(name), text).unwrap();
            }
            symlink(&disk, sys.join("class/block/vda")).unwrap();
            symlink(disk.join("vda2"), sys.join("class/block/vda2")).unwrap();
            let mut image = vec![0; 64 * 512];
            for (place, other, entries_block) in [(1, LAST, 2), (LAST, 1, 62)] {
                let (block, entries) = table(place, other, entries_block, label);
                for (bytes, at) in [(block, place), (entries, entries_block)] {
                    let at = usize::try_from(at).unwrap() * 512;
                    image[at..at + bytes.len()].copy_from_slice(&bytes);
                }
            }
            fs::write(dev.join("vda"), image).unwrap();
            Self { _folder: folder, sys, dev }
        }

        pub(crate) fn image(&self) -> Vec<u8> {
            fs::read(self.dev.join("vda")).unwrap()
        }

        pub(crate) fn set_image(&self, image: &[u8]) {
            fs::write(self.dev.join("vda"), image).unwrap();
        }

        /// Makes one byte of a block wrong.
        pub(crate) fn damage(&self, block: u64, byte: usize) {
            let mut image = self.image();
            image[usize::try_from(block).unwrap() * 512 + byte] ^= 1;
            self.set_image(&image);
        }

        pub(crate) fn disk(&self) -> Disk {
            Disk::open_for_writing(&self.sys, &self.dev, "vda").unwrap()
        }
    }

    fn fresh() -> impl FnMut() -> io::Result<Guid> {
        let mut last = 0;
        move || {
            last += 1;
            Ok(Guid::random([last; 16]))
        }
    }

    #[test]
    fn the_copy_counts_only_when_the_first_table_is_damaged() {
        let machine = Machine::new("data");
        for (block, byte) in [(1, 0), (1, 16), (1, 40), (2, 200)] {
            machine.damage(block, byte);
            assert_eq!(machine.disk().table().unwrap().header.entries_block, 62, "byte {byte} of {block}");
            machine.damage(block, byte);
            assert_eq!(machine.disk().table().unwrap().header.entries_block, 2);
        }
        machine.damage(1, 16);
        machine.damage(62, 200);
        assert_eq!(machine.disk().table(), None);
    }

    #[test]
    fn both_tables_have_the_new_guids() {
        let machine = Machine::new("data");
        machine.disk().renew_guids(fresh()).unwrap();
        let first = machine.disk().table().unwrap();
        assert_eq!(first.entry(2).unwrap().guid, Guid::random([2; 16]));
        machine.damage(1, 0);
        assert_eq!(machine.disk().table().unwrap().entry(2), first.entry(2));
    }

    #[test]
    fn a_disk_that_is_to_be_encrypted_stays_so() {
        let machine = Machine::new("root-a");
        assert!(!machine.disk().is_to_be_encrypted());
        for _ in 0..2 {
            machine.disk().mark_to_be_encrypted().unwrap();
            assert!(machine.disk().is_to_be_encrypted());
        }
        machine.disk().renew_guids(fresh()).unwrap();
        machine.damage(1, 0);
        assert!(machine.disk().is_to_be_encrypted(), "the copy says so too");
        assert!(Machine::new("data").disk().mark_to_be_encrypted().is_err(), "there is no slot A");
    }

    /// With only one table nothing would be left if the power went while it is written.
    #[test]
    fn with_only_one_table_nothing_is_written() {
        for block in [1, LAST] {
            let machine = Machine::new("data");
            machine.damage(block, 30);
            let before = machine.image();
            assert!(machine.disk().renew_guids(fresh()).is_err());
            assert_eq!(machine.image(), before);
        }
    }

    /// Blocks reach the disk one by one; a cut leaves those before it.
    #[test]
    fn a_cut_at_any_block_leaves_the_old_or_the_new_table() {
        let machine = Machine::new("data");
        let before = machine.image();
        let old = machine.disk().table().unwrap().entry(2);
        machine.disk().renew_guids(fresh()).unwrap();
        let after = machine.image();
        let new = machine.disk().table().unwrap().entry(2);
        let order = [[62_usize, 63], [2, 1]];
        for (done, cut) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let mut image = before.clone();
            let mut copy = |block: usize| {
                let range = block * 512..(block + 1) * 512;
                image[range.clone()].copy_from_slice(&after[range]);
            };
            order[..done].iter().flatten().for_each(|block| copy(*block));
            // Within one of the two, either block may be the first.
            copy(order[done][cut]);
            machine.set_image(&image);
            let found = machine.disk().table().expect("a table is left").entry(2);
            assert!(found == old || found == new, "{found:?}");
        }
    }
}
