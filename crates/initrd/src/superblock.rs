//! The few fields of an ext4 superblock that decide what happens before mounting.
//!
//! Layout: Linux kernel documentation, "ext4 Data Structures and Algorithms", super block.

/// Where the superblock starts on the partition, in bytes.
pub const OFFSET: u64 = 1024;
/// Bytes of it that are read.
pub const BYTES: usize = 1024;

const MAGIC: u16 = 0xEF53;
const STATE_ERRORS: u16 = 0x2;
const INCOMPAT_64BIT: u32 = 0x80;
const RO_COMPAT_QUOTA: u32 = 0x100;

/// What the superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// The kernel found an inconsistency earlier and asked for a check.
    pub errors: bool,
    /// Size of the file system.
    pub size_bytes: u64,
    /// Size of its blocks.
    pub block_bytes: u64,
    /// Blocks that only the system may use.
    pub reserved_blocks: u64,
    /// It counts what each user takes.
    pub user_quota: bool,
}

impl Superblock {
    /// Reads a superblock; `None` when there is no ext file system here.
    pub fn parse(block: &[u8]) -> Option<Self> {
        if half(block, 0x38)? != MAGIC {
            return None;
        }
        let block_bytes = 1024_u64.checked_shl(word(block, 0x18)?).filter(|bytes| *bytes <= 65536)?;
        let wide = word(block, 0x60)? & INCOMPAT_64BIT != 0;
        let number = |low: usize, high: usize| {
            let high = if wide { word(block, high)? } else { 0 };
            Some(u64::from(high) << 32 | u64::from(word(block, low)?))
        };
        // The feature is there, and so is the inode that holds the numbers of users.
        let counts_users = word(block, 0x64)? & RO_COMPAT_QUOTA != 0 && word(block, 0x240)? != 0;
        Some(Self {
            errors: half(block, 0x3a)? & STATE_ERRORS != 0,
            size_bytes: number(0x4, 0x150)?.checked_mul(block_bytes)?,
            block_bytes,
            reserved_blocks: number(0x8, 0x154)?,
            user_quota: counts_users,
        })
    }
}

fn half(block: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(block.get(at..at + 2)?.try_into().ok()?))
}

fn word(block: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(block.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut block = vec![0; BYTES];
        block[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
        for (at, bytes) in fields {
            block[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        block
    }

    #[test]
    fn size_errors_reserve_and_quota_are_read() {
        let plain =
            block(&[(0x4, &[0, 0, 16, 0]), (0x8, &[0, 1]), (0x18, &[2]), (0x3a, &[1]), (0x240, &[3])]);
        let expected = Superblock {
            errors: false,
            size_bytes: 4 << 30,
            block_bytes: 4096,
            reserved_blocks: 256,
            user_quota: false,
        };
        assert_eq!(Superblock::parse(&plain), Some(expected));
        let wide: [(usize, &[u8]); 7] = [
            (0x18, &[2]),
            (0x60, &[0x80]),
            (0x64, &[0, 1]),
            (0x150, &[1]),
            (0x154, &[1]),
            (0x240, &[3]),
            (0x3a, &[3]),
        ];
        let expected = Superblock {
            errors: true,
            size_bytes: 16 << 40,
            block_bytes: 4096,
            reserved_blocks: 1 << 32,
            user_quota: true,
        };
        assert_eq!(Superblock::parse(&block(&wide)), Some(expected));
    }

    #[test]
    fn what_is_no_file_system_is_refused() {
        assert_eq!(Superblock::parse(&[0; BYTES]), None);
        assert_eq!(Superblock::parse(&[]), None);
        assert_eq!(Superblock::parse(&block(&[(0x18, &[0xff])])), None);
    }
}
