//! The GUID partition table: partitions by label and GUID, and new GUIDs for all of them.
//!
//! The kernel tells labels too, but not of partitions that were made while it runs. A table is
//! believed under the same conditions as by the kernel (`is_gpt_valid` in `block/partitions/efi.c`),
//! so that both always speak of the same partitions.
//!
//! Layout: UEFI specification 2.10, section 5.3.

use std::{fmt, io};

/// Block of the first table; its copy is in the last block of the disk.
pub const PRIMARY: u64 = 1;
/// Bytes of a header's known fields, and the least that a header may have.
const HEADER_BYTES: usize = 92;
/// Bytes of an entry; the kernel knows no other size.
const ENTRY_BYTES: usize = 128;
/// What the kernel would still read of entries.
const TABLE_LIMIT_BYTES: usize = 4 << 20;

/// A GUID in the mixed byte order of the partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

    /// A random GUID (RFC 9562, version 4) from 16 random bytes.
    pub fn random(mut bytes: [u8; 16]) -> Self {
        bytes[7] = bytes[7] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
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

/// One of the two headers, with its checksum right and its numbers within the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    bytes: Vec<u8>,
    /// Logical block of the first entry.
    pub entries_block: u64,
    /// Logical block of the other header.
    pub other_block: u64,
    /// Number of entries.
    pub entries: usize,
    entries_crc: u32,
}

impl Header {
    /// Reads the header in logical block `place` of a disk whose last block is `last`; `None` where
    /// the kernel would not believe it either.
    pub fn parse(block: &[u8], place: u64, last: u64) -> Option<Self> {
        if block.get(..8)? != b"EFI PART" {
            return None;
        }
        let bytes = block.get(..number(block, 12)? as usize)?;
        if bytes.len() < HEADER_BYTES || crc32(&without_crc(bytes)) != number(bytes, 16)? {
            return None;
        }
        let (first_usable, last_usable) = (long(bytes, 40)?, long(bytes, 48)?);
        let header = Self {
            entries_block: long(bytes, 72)?,
            other_block: long(bytes, 32)?,
            entries: number(bytes, 80)? as usize,
            entries_crc: number(bytes, 88)?,
            bytes: bytes.to_vec(),
        };
        let sane = long(bytes, 24)? == place
            && first_usable <= last_usable
            && last_usable <= last
            && number(bytes, 84)? as usize == ENTRY_BYTES
            && (1..=TABLE_LIMIT_BYTES).contains(&header.entries.saturating_mul(ENTRY_BYTES));
        sane.then_some(header)
    }

    /// Bytes all entries take.
    pub fn table_bytes(&self) -> usize {
        self.entries * ENTRY_BYTES
    }
}

/// One of the two tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its header.
    pub header: Header,
    entries: Vec<u8>,
}

impl Table {
    /// Puts header and entries together; `None` when the entries are not those that the header means.
    pub fn new(header: Header, entries: Vec<u8>) -> Option<Self> {
        (entries.len() == header.table_bytes() && crc32(&entries) == header.entries_crc)
            .then_some(Self { header, entries })
    }

    /// Partition `number` (from 1); `None` for an unused entry.
    pub fn entry(&self, number: usize) -> Option<Entry> {
        let entry = self.entries.chunks_exact(ENTRY_BYTES).nth(number.checked_sub(1)?)?;
        if entry[..16].iter().all(|byte| *byte == 0) {
            return None;
        }
        let units = entry[56..128].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let label: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        Some(Entry {
            guid: Guid(entry[16..32].try_into().ok()?),
            label: String::from_utf16_lossy(&label),
            start_block: long(entry, 32)?,
            attributes: long(entry, 48)?,
        })
    }

    /// The partition with this label.
    pub fn labelled(&self, label: &str) -> Option<Entry> {
        (1..=self.entries.len() / ENTRY_BYTES)
            .filter_map(|number| self.entry(number))
            .find(|entry| entry.label == label)
    }

    /// The same partitions, with these attributes added to the one with this label; `None` when there is none.
    pub fn with_attributes(&self, label: &str, attributes: u64) -> Option<Self> {
        let found = self.labelled(label)?;
        let mut table = self.clone();
        for entry in table.entries.chunks_exact_mut(ENTRY_BYTES) {
            if entry[16..32] == found.guid.0 {
                entry[48..56].copy_from_slice(&(found.attributes | attributes).to_le_bytes());
            }
        }
        table.seal();
        Some(table)
    }

    /// The same partitions, each and the disk itself with a GUID of its own from `fresh`.
    pub fn with_new_guids(&self, mut fresh: impl FnMut() -> io::Result<Guid>) -> io::Result<Self> {
        let mut table = self.clone();
        table.header.bytes[56..72].copy_from_slice(&fresh()?.0);
        for entry in table.entries.chunks_exact_mut(ENTRY_BYTES) {
            if entry[..16].iter().any(|byte| *byte != 0) {
                entry[16..32].copy_from_slice(&fresh()?.0);
            }
        }
        table.seal();
        Ok(table)
    }

    /// This table's place with what the other one says; `None` when they differ in size.
    pub fn with_content_of(&self, other: &Self) -> Option<Self> {
        if self.entries.len() != other.entries.len() {
            return None;
        }
        let mut table = self.clone();
        table.entries.clone_from(&other.entries);
        table.header.bytes[56..72].copy_from_slice(&other.header.bytes[56..72]);
        table.seal();
        Some(table)
    }

    /// The header's bytes as they are stored.
    pub fn header_bytes(&self) -> &[u8] {
        &self.header.bytes
    }

    /// The entries' bytes as they are stored.
    pub fn entries_bytes(&self) -> &[u8] {
        &self.entries
    }

    fn seal(&mut self) {
        self.header.entries_crc = crc32(&self.entries);
        self.header.bytes[88..92].copy_from_slice(&self.header.entries_crc.to_le_bytes());
        let crc = crc32(&without_crc(&self.header.bytes));
        self.header.bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    }
}

/// What the table says about one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its own GUID.
    pub guid: Guid,
    /// Its label.
    pub label: String,
    /// Its first logical block.
    pub start_block: u64,
    /// Its attributes. Those from bit 48 on are for the maker of the partition (UEFI Specification, 5.3.3).
    pub attributes: u64,
}

/// The checksum of a header is made with its own field empty.
fn without_crc(header: &[u8]) -> Vec<u8> {
    let mut bytes = header.to_vec();
    bytes[16..20].fill(0);
    bytes
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// CRC-32 as in Ethernet (reflected polynomial 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    let folded = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    });
    !folded
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const TEXT: &str = "3dd7e1c0-6d5a-4c40-8b4a-5f1f0c2f7f3b";

    /// The block of a header in `place` and the four entries in `entries_block`, the second of which
    /// is `label`, from block 34.
    pub(crate) fn table(place: u64, other: u64, entries_block: u64, label: &str) -> (Vec<u8>, Vec<u8>) {
        let mut entries = vec![0; 4 * ENTRY_BYTES];
        let entry = &mut entries[ENTRY_BYTES..2 * ENTRY_BYTES];
        entry[0] = 1;
        entry[16..32].copy_from_slice(&Guid::parse(TEXT).unwrap().0);
        entry[32] = 34;
        entry[40] = 41;
        for (unit, bytes) in label.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
            bytes.copy_from_slice(&unit.to_le_bytes());
        }
        let mut block = vec![0; 512];
        block[..8].copy_from_slice(b"EFI PART");
        for (at, value) in [(24, place), (32, other), (40, 34), (48, 60), (72, entries_block)] {
            block[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in [(8, 0x10000_u32), (12, 92), (80, 4), (84, 128), (88, crc32(&entries))] {
            block[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        sign(&mut block);
        (block, entries)
    }

    fn sign(block: &mut [u8]) {
        let crc = crc32(&without_crc(&block[..92]));
        block[16..20].copy_from_slice(&crc.to_le_bytes());
    }

    fn whole() -> Table {
        let (block, entries) = table(1, 63, 2, "db\u{e9}");
        Table::new(Header::parse(&block, 1, 63).unwrap(), entries).unwrap()
    }

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
    fn a_random_guid_says_that_it_is_one() {
        assert_eq!(Guid::random([0xff; 16]).to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(Guid::random([0; 16]).to_string(), "00000000-0000-4000-8000-000000000000");
    }

    /// The check value of this CRC in every catalogue of them.
    #[test]
    fn the_checksum_is_the_one_of_the_specification() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_numbered_partition_is_found() {
        let table = whole();
        assert_eq!((table.header.entries_block, table.header.table_bytes()), (2, 512));
        let entry = table.entry(2).unwrap();
        assert_eq!((entry.guid.to_string().as_str(), entry.label.as_str()), (TEXT, "db\u{e9}"));
        assert_eq!(entry.start_block, 34);
        for unused in [0, 1, 4, 5] {
            assert_eq!(table.entry(unused), None, "{unused}");
        }
    }

    /// Each of these is refused by the kernel, though its checksum is right.
    #[test]
    fn a_header_with_impossible_numbers_is_refused() {
        let (good, _) = table(1, 63, 2, "data");
        assert!(Header::parse(&good, 1, 63).is_some());
        for (what, at, value) in [
            ("another block is its own", 24, 2_u8),
            ("it ends before it begins", 48, 33),
            ("it ends behind the disk", 48, 64),
            ("entries of another size", 85, 1),
            ("no entries", 80, 0),
            ("more entries than memory", 83, 0x7f),
        ] {
            let mut block = good.clone();
            block[at] = value;
            sign(&mut block);
            assert_eq!(Header::parse(&block, 1, 63), None, "{what}");
        }
        for length in [0_u8, 91] {
            let mut block = good.clone();
            block[12] = length;
            assert_eq!(Header::parse(&block, 1, 63), None, "{length} bytes");
        }
        let mut long = good;
        long[12..16].fill(0xff);
        assert_eq!(Header::parse(&long, 1, 63), None);
        assert_eq!(Header::parse(b"EFI PART", 1, 63), None);
        assert_eq!(Header::parse(&[0; 512], 1, 63), None);
    }

    #[test]
    fn every_flipped_bit_of_a_table_is_noticed() {
        let (block, entries) = table(1, 63, 2, "data");
        for bit in 0..92 * 8 {
            let mut block = block.clone();
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(&block, 1, 63), None, "bit {bit} of the header");
        }
        let header = Header::parse(&block, 1, 63).unwrap();
        for bit in 0..entries.len() * 8 {
            let mut entries = entries.clone();
            entries[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Table::new(header.clone(), entries), None, "bit {bit} of the entries");
        }
        assert_eq!(Table::new(header, entries[1..].to_vec()), None);
    }

    #[test]
    fn new_guids_leave_a_valid_table_with_the_same_partitions() {
        let table = whole();
        let mut last = 0;
        let fresh = || {
            last += 1;
            Ok(Guid::random([last; 16]))
        };
        let renamed = table.with_new_guids(fresh).unwrap();
        assert_eq!(last, 2, "one for the disk and one for the only partition");
        let header = Header::parse(renamed.header_bytes(), 1, 63).unwrap();
        let read = Table::new(header, renamed.entries_bytes().to_vec()).unwrap();
        assert_eq!(read, renamed);
        let (before, after) = (table.entry(2).unwrap(), read.entry(2).unwrap());
        assert_eq!(after.guid, Guid::random([2; 16]));
        assert_eq!((after.label, after.start_block), (before.label, before.start_block));
        assert_eq!(read.entry(1), None);
    }

    #[test]
    fn an_attribute_changes_nothing_else() {
        let table = whole();
        assert_eq!(table.with_attributes("root-b", 1 << 56), None);
        let marked = table.with_attributes("db\u{e9}", 1 << 56).unwrap();
        let marked = marked.with_attributes("db\u{e9}", 1 << 57).unwrap();
        let header = Header::parse(marked.header_bytes(), 1, 63).unwrap();
        let read = Table::new(header, marked.entries_bytes().to_vec()).unwrap();
        let (before, after) = (table.labelled("db\u{e9}").unwrap(), read.labelled("db\u{e9}").unwrap());
        assert_eq!(after.attributes, before.attributes | 3 << 56);
        assert_eq!(Entry { attributes: before.attributes, ..after }, before);
    }

    #[test]
    fn the_copy_follows_and_keeps_its_place() {
        let (block, entries) = table(63, 1, 62, "data");
        let copy = Table::new(Header::parse(&block, 63, 63).unwrap(), entries).unwrap();
        let renamed = whole().with_new_guids(|| Ok(Guid::random([7; 16]))).unwrap();
        let followed = copy.with_content_of(&renamed).unwrap();
        let header = Header::parse(followed.header_bytes(), 63, 63).unwrap();
        assert_eq!((header.entries_block, header.other_block), (62, 1));
        assert!(Table::new(header, renamed.entries_bytes().to_vec()).is_some());
        assert_eq!(followed.header_bytes()[56..72], renamed.header_bytes()[56..72]);
    }
}
