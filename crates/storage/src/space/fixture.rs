//! What the tests of this crate judge.

use super::Space;

pub const GIB: u64 = 1 << 30;

/// A disk of 100 GiB and a million inodes with so much left.
pub fn space(free_bytes: u64, free_inodes: u64) -> Space {
    Space {
        total_bytes: 100 * GIB,
        free_bytes,
        reserved_bytes: GIB,
        total_inodes: 1_000_000,
        free_inodes,
        read_only: false,
    }
}
