//! Just enough of the GUID partition table to know partitions by label and GUID.
//!
//! The kernel tells labels too, but not of partitions that were made while it runs.
//!
//! Layout: UEFI specification 2.10, section 5.3.

use std::fmt;

/// Bytes of the header that are read.
pub const HEADER_BYTES: usize = 92;

/// A GUID in the mixed byte order of the partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid([u8; 16]);

/// Positions in the text form of the bytes as they are stored.
const TEXT_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// Reads the usual text form with dashes, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        if digits.len() != 32 || text.len() != 36 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut stored = [0; 16];
        for (pair, place) in digits.chunks(2).zip(TEXT_ORDER) {
            stored[place] = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(stored))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, place) in TEXT_ORDER.into_iter().enumerate() {
            if matches!(count, 4 | 6 | 8 | 10) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{:02x}", self.0[place])?;
        }
        Ok(())
    }
}

/// Where the entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Logical block of the first entry.
    pub entries_block: u64,
    /// Bytes of one entry.
    pub entry_bytes: usize,
    /// Number of entries.
    pub entries: usize,
}

impl Header {
    /// Reads a header; `None` when this is not one or its numbers make no sense.
    pub fn parse(block: &[u8]) -> Option<Self> {
        if block.get(..8)? != b"EFI PART" {
            return None;
        }
        let header = Self {
            entries_block: u64::from_le_bytes(block.get(72..80)?.try_into().ok()?),
            entries: u32::from_le_bytes(block.get(80..84)?.try_into().ok()?) as usize,
            entry_bytes: u32::from_le_bytes(block.get(84..88)?.try_into().ok()?) as usize,
        };
        let sane = (128..=4096).contains(&header.entry_bytes) && (1..=1024).contains(&header.entries);
        sane.then_some(header)
    }

    /// Bytes all entries take.
    pub fn table_bytes(&self) -> usize {
        self.entry_bytes * self.entries
    }

    /// Partition `number` (from 1) in the entries' bytes; `None` for an unused entry.
    pub fn entry(&self, table: &[u8], number: usize) -> Option<Entry> {
        let start = number.checked_sub(1)?.checked_mul(self.entry_bytes)?;
        let entry = table.get(start..start + self.entry_bytes)?;
        if entry[..16].iter().all(|byte| *byte == 0) {
            return None;
        }
        let units = entry[56..128].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let label: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        Some(Entry { guid: Guid(entry[16..32].try_into().ok()?), label: String::from_utf16_lossy(&label) })
    }
}

/// What the table says about one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its own GUID.
    pub guid: Guid,
    /// Its label.
    pub label: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "3dd7e1c0-6d5a-4c40-8b4a-5f1f0c2f7f3b";

    #[test]
    fn text_survives_the_mixed_byte_order() {
        let guid = Guid::parse(TEXT).unwrap();
        assert_eq!(guid.0[..4], [0xc0, 0xe1, 0xd7, 0x3d]);
        assert_eq!(guid.to_string(), TEXT);
        assert_eq!(Guid::parse(&TEXT.to_uppercase()), Some(guid));
    }

    #[test]
    fn what_is_not_a_guid_is_refused() {
        for text in ["", "3dd7e1c0", "3dd7e1c0-6d5a-4c40-8b4a-5f1f0c2f7f3", &TEXT.replace('3', "g")] {
            assert_eq!(Guid::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_numbered_partition_is_found() {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(b"EFI PART");
        header[72] = 2;
        header[80] = 4;
        header[84] = 128;
        let header = Header::parse(&header).unwrap();
        assert_eq!((header.entries_block, header.table_bytes()), (2, 512));
        let mut table = vec![0; header.table_bytes()];
        table[128] = 1;
        table[144..160].copy_from_slice(&Guid::parse(TEXT).unwrap().0);
        table[184..190].copy_from_slice(b"d\0b\0\xe9\0");
        let entry = header.entry(&table, 2).unwrap();
        assert_eq!((entry.guid.to_string().as_str(), entry.label.as_str()), (TEXT, "db\u{e9}"));
        for unused in [0, 1, 4, 5] {
            assert_eq!(header.entry(&table, unused), None, "{unused}");
        }
    }

    #[test]
    fn a_header_with_impossible_numbers_is_refused() {
        let mut block = [0xff; HEADER_BYTES];
        block[..8].copy_from_slice(b"EFI PART");
        assert_eq!(Header::parse(&block), None);
        assert_eq!(Header::parse(b"EFI PART"), None);
        assert_eq!(Header::parse(&[0; HEADER_BYTES]), None);
    }
}
