//! Reads one small file from a FAT32 file system, without mounting it.
//!
//! The boot partitions of all attached disks are looked at before it is known which disk is ours, so
//! nothing on them is trusted: every number is checked, and every walk is bounded.
//!
//! Layout: Microsoft, "FAT: General Overview of On-Disk Format", 1.03; FAT32 only, which the image has.

use std::os::unix::fs::FileExt;

/// The longest file that is read.
const FILE_LIMIT_BYTES: usize = 64 << 10;
/// The longest folder that is looked through; ours hold a handful of entries.
const FOLDER_LIMIT_BYTES: usize = 256 << 10;
const ENTRY_BYTES: usize = 32;
const FOLDER: u8 = 0x10;
/// Set in the attributes of labels and of the parts of long names.
const NO_FILE: u8 = 0x08;
/// From here up, numbers of clusters mark the end of a file or a fault.
const LAST_CLUSTER: u32 = 0x0fff_fff6;

/// The file system's numbers, in bytes from the start of the partition.
struct Volume<'a, F> {
    device: &'a F,
    table: u64,
    table_bytes: u64,
    clusters: u64,
    cluster_bytes: usize,
    root: u32,
}

/// Reads `folder/file` below the root; both in the form of short names, such as `NONCE`.
///
/// Long names need no care: a name of eight letters or fewer keeps its short form beside them.
pub fn read(device: &impl FileExt, folder: &str, file: &str) -> Option<Vec<u8>> {
    let volume = Volume::open(device)?;
    let root = volume.chain(volume.root, FOLDER_LIMIT_BYTES)?;
    let (attributes, cluster, _) = find(&root, folder)?;
    if attributes & FOLDER == 0 {
        return None;
    }
    let (attributes, cluster, length) = find(&volume.chain(cluster, FOLDER_LIMIT_BYTES)?, file)?;
    if attributes & FOLDER != 0 || length > FILE_LIMIT_BYTES {
        return None;
    }
    let mut content = volume.chain(cluster, length)?;
    (content.len() >= length).then(|| content.truncate(length))?;
    Some(content)
}

impl<'a, F: FileExt> Volume<'a, F> {
    fn open(device: &'a F) -> Option<Self> {
        let mut sector = [0; 512];
        device.read_exact_at(&mut sector, 0).ok()?;
        let half = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
        let word =
            |at: usize| u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]);
        let (sector_bytes, per_cluster) = (half(11), u64::from(sector[13]));
        let (reserved, tables) = (half(14), u64::from(sector[16]));
        let table_bytes = u64::from(word(36)) * sector_bytes;
        let sane = sector[510..] == [0x55, 0xaa]
            && matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
            && per_cluster.is_power_of_two()
            && reserved > 0
            && (1..=2).contains(&tables)
            // The old kinds of FAT keep the size of their table elsewhere.
            && half(22) == 0
            && table_bytes > 0;
        let table = reserved * sector_bytes;
        sane.then_some(Self {
            device,
            table,
            table_bytes,
            clusters: table + tables * table_bytes,
            cluster_bytes: usize::try_from(sector_bytes * per_cluster).ok()?,
            root: word(44),
        })
    }

    /// The content of the clusters from `first` on, until they end or `enough` bytes are there.
    fn chain(&self, first: u32, enough: usize) -> Option<Vec<u8>> {
        let (mut cluster, mut content) = (first, Vec::new());
        while content.len() < enough && cluster < LAST_CLUSTER {
            let start = content.len();
            content.resize(start + self.cluster_bytes, 0);
            let place = self.clusters + u64::from(cluster.checked_sub(2)?) * self.cluster_bytes as u64;
            self.device.read_exact_at(&mut content[start..], place).ok()?;
            let link = u64::from(cluster) * 4;
            let mut next = [0; 4];
            if link >= self.table_bytes {
                return None;
            }
            self.device.read_exact_at(&mut next, self.table + link).ok()?;
            cluster = u32::from_le_bytes(next) & 0x0fff_ffff;
        }
        Some(content)
    }
}

/// Attributes, first cluster and length of the entry with this short name.
fn find(folder: &[u8], name: &str) -> Option<(u8, u32, usize)> {
    let mut wanted = [b' '; 11];
    wanted.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    // An empty entry is the last.
    let entries = folder.chunks_exact(ENTRY_BYTES).take_while(|entry| entry[0] != 0);
    let found = entries.filter(|entry| entry[11] & NO_FILE == 0).find(|entry| entry[..11] == wanted)?;
    let cluster = u32::from_le_bytes([found[26], found[27], found[20], found[21]]) & 0x0fff_ffff;
    let length = u32::from_le_bytes([found[28], found[29], found[30], found[31]]);
    Some((found[11], cluster, usize::try_from(length).ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::{self, File};

    use super::*;

    const SECTOR: usize = 512;
    const TABLE: usize = 2 * SECTOR;
    const CLUSTERS: usize = 4 * SECTOR;

    /// A file system with `GRUB/NONCE` in clusters of one sector: the root in cluster 2, the folder
    /// in 3 and 5, the file in 4 and 6, as far as it goes.
    pub(crate) fn volume(content: &[u8]) -> Vec<u8> {
        let mut image = vec![0; CLUSTERS + 8 * SECTOR];
        image[11..13].copy_from_slice(&512_u16.to_le_bytes());
        image[13] = 1;
        image[14] = 2;
        image[16] = 2;
        image[36] = 1;
        image[44] = 2;
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        for (cluster, next) in [(2, 0x0fff_ffff), (3, 5), (5, 0x0fff_ffff), (4, 6), (6, 0x0fff_ffff_u32)] {
            image[TABLE + cluster * 4..TABLE + cluster * 4 + 4].copy_from_slice(&next.to_le_bytes());
        }
        let entry = |name: &[u8; 11], attributes: u8, cluster: u8, length: usize| {
            let mut entry = [0; ENTRY_BYTES];
            entry[..11].copy_from_slice(name);
            entry[11] = attributes;
            entry[26] = cluster;
            entry[28..32].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
            entry
        };
        let at = |cluster: usize| CLUSTERS + (cluster - 2) * SECTOR;
        image[at(2)..][..32].copy_from_slice(&entry(b"GRUB       ", NO_FILE, 7, 0));
        image[at(2) + 32..][..32].copy_from_slice(&entry(b"GRUB       ", FOLDER, 3, 0));
        for place in 0..16 {
            image[at(3) + place * 32..][..32].copy_from_slice(&entry(b"\xe5THER   CFG", 0, 7, 9));
        }
        image[at(5)..][..32].copy_from_slice(&entry(b"NONCE      ", 0, 4, content.len()));
        for (part, cluster) in content.chunks(SECTOR).zip([4, 6]) {
            image[at(cluster)..][..part.len()].copy_from_slice(part);
        }
        image
    }

    fn read_from(image: &[u8]) -> Option<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("esp");
        fs::write(&path, image).unwrap();
        read(&File::open(path).unwrap(), "GRUB", "NONCE")
    }

    #[test]
    fn a_file_is_read_through_its_clusters() {
        for length in [0, 10, 512, 1000, 1024] {
            let content: Vec<u8> = (0..length).map(|byte| (byte % 251) as u8).collect();
            assert_eq!(read_from(&volume(&content)), Some(content), "{length}");
        }
    }

    #[test]
    fn what_is_missing_or_too_long_is_not_read() {
        let image = volume(b"text");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("esp");
        fs::write(&path, &image).unwrap();
        let device = File::open(path).unwrap();
        for (folder, file) in
            [("EFI", "NONCE"), ("GRUB", "GRUB"), ("GRUB", "OTHER"), ("GRUB", "LONGER THAN SHORT")]
        {
            assert_eq!(read(&device, folder, file), None, "{folder}/{file}");
        }
        // Longer than its clusters, and longer than anything of ours.
        for length in [0x0000_0500_u32, 0x7fff_ffff] {
            let mut image = image.clone();
            image[CLUSTERS + 3 * SECTOR + 28..][..4].copy_from_slice(&length.to_le_bytes());
            assert_eq!(read_from(&image), None, "{length}");
        }
    }

    #[test]
    fn a_chain_without_an_end_ends() {
        let mut image = volume(b"text");
        image[TABLE + 12..TABLE + 16].copy_from_slice(&3_u32.to_le_bytes());
        assert_eq!(read_from(&image), None);
    }

    /// No byte of a boot partition may stop the first process, whatever it holds.
    #[test]
    fn damaged_file_systems_are_refused_or_read_but_never_fatal() {
        let image = volume(&[b'x'; 900]);
        for at in (0..image.len()).filter(|at| *at < 90 || (508..SECTOR * 9).contains(at)) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = image.clone();
                damaged[at] = value;
                let read = read_from(&damaged);
                assert!(read.is_none_or(|content| content.len() <= FILE_LIMIT_BYTES), "{value} at {at}");
            }
        }
        for length in (0..image.len()).step_by(256) {
            let _refused_or_read = read_from(&image[..length]);
        }
    }
}
