//! What is left, asked of the mount itself.

#[cfg(test)]
pub mod fixture;

use std::fs::File;
use std::io;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, Statvfs, fstatvfs, statvfs};

use crate::rules::Floor;
use crate::size::Size;

/// A file system at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All bytes that files could have.
    pub total_bytes: u64,
    /// Bytes that ordinary programs may still write.
    pub free_bytes: u64,
    /// Bytes beside those that only the system may use.
    pub reserved_bytes: u64,
    /// All files and folders that there could be; 0 where they are not counted.
    pub total_inodes: u64,
    /// Files and folders that can still be made.
    pub free_inodes: u64,
    /// Whether it was mounted read-only, or made so.
    pub read_only: bool,
}

/// Something does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    /// Too few bytes.
    #[error(
        "the disk is full: {} are needed and {} may be used, {} too few; free some in the portal under Box, \
         Space, or see `boosterctl storage`", Size(*.needed), Size(*.free), Size(.needed.saturating_sub(*.free))
    )]
    Bytes {
        /// Bytes that are wanted.
        needed: u64,
        /// Bytes that may be used.
        free: u64,
    },
    /// Too few inodes.
    #[error(
        "the disk is full: it has room for {free} more files and {needed} are needed; remove recordings or \
         generated files in the portal under The box, Space, or see `boosterctl storage`"
    )]
    Files {
        /// Files that are wanted.
        needed: u64,
        /// Files that may be made.
        free: u64,
    },
}

impl Space {
    /// The file system on which `path`, or the nearest folder above it that exists, lies.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut missing = io::Error::from(io::ErrorKind::NotFound);
        for place in path.ancestors() {
            match statvfs(place) {
                Ok(found) => return Ok(Self::from(&found)),
                Err(nix::Error::ENOENT) => missing = nix::Error::ENOENT.into(),
                Err(error) => return Err(error.into()),
            }
        }
        Err(missing)
    }

    /// The file system of an open file.
    pub fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::from(&fstatvfs(file)?))
    }

    /// What ordinary writers leave free here.
    pub fn floor(&self) -> Floor {
        Floor::of(self.total_bytes, self.total_inodes)
    }

    /// Bytes that are taken.
    pub const fn used_bytes(&self) -> u64 {
        self.total_bytes.saturating_sub(self.free_bytes).saturating_sub(self.reserved_bytes)
    }

    /// Whether so many bytes and files fit and leave the floor free. Every ordinary writer asks this first.
    pub fn room_for(&self, bytes: u64, files: u64) -> Result<(), Shortage> {
        let floor = self.floor();
        let free = self.free_bytes.saturating_sub(floor.bytes);
        if bytes > free {
            return Err(Shortage::Bytes { needed: bytes, free });
        }
        let free = self.free_inodes.saturating_sub(floor.inodes);
        if self.total_inodes > 0 && files > free {
            return Err(Shortage::Files { needed: files, free });
        }
        Ok(())
    }
}

impl From<Shortage> for io::Error {
    fn from(shortage: Shortage) -> Self {
        Self::new(io::ErrorKind::StorageFull, shortage)
    }
}

impl From<&Statvfs> for Space {
    fn from(found: &Statvfs) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
        Self {
            total_bytes: bytes(found.blocks()),
            free_bytes: bytes(found.blocks_available()),
            reserved_bytes: bytes(found.blocks_free().saturating_sub(found.blocks_available())),
            total_inodes: found.files(),
            free_inodes: found.files_available(),
            read_only: found.flags().contains(FsFlags::ST_RDONLY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{GIB, space};
    use super::*;

    #[test]
    fn what_fits_leaves_the_floor() {
        let roomy = space(10 * GIB, 500_000);
        assert_eq!(roomy.room_for(8 * GIB, 375_000), Ok(()));
        assert_eq!(
            roomy.room_for(8 * GIB + 1, 1),
            Err(Shortage::Bytes { needed: 8 * GIB + 1, free: 8 * GIB })
        );
        assert_eq!(roomy.room_for(1, 375_001), Err(Shortage::Files { needed: 375_001, free: 375_000 }));
        let full = space(GIB, 0);
        assert_eq!(full.room_for(1, 0), Err(Shortage::Bytes { needed: 1, free: 0 }));
        let uncounted = Space { total_inodes: 0, ..space(10 * GIB, 0) };
        assert_eq!(uncounted.room_for(1, 1), Ok(()), "a file system that does not count inodes has enough");
    }

    #[test]
    fn a_shortage_says_how_much_is_missing_and_what_to_do() {
        let words = space(3 * GIB, 500_000).room_for(3 * GIB, 1).expect_err("too much").to_string();
        for part in ["3.0 GiB are needed", "1.0 GiB may be used", "2.0 GiB too few", "boosterctl storage"] {
            assert!(words.contains(part), "{words}");
        }
        let error = std::io::Error::from(Shortage::Files { needed: 1, free: 0 });
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_lies_where_its_parent_lies() {
        let folder = tempfile::tempdir().expect("folder");
        let here = Space::of(folder.path()).expect("space");
        let there = Space::of(&folder.path().join("a/b")).expect("space");
        assert_eq!((here.total_bytes, here.read_only), (there.total_bytes, false));
        assert!(here.total_bytes > here.used_bytes());
    }
}
