//! The archive format of the initrd, "newc" (Linux kernel documentation, "initramfs buffer format").

const TRAILER: &str = "TRAILER!!!";
const HEADER_BYTES: usize = 110;
const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that grows entry by entry. Folders must come before what is in them.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds an empty folder.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, (0, 0), &[]);
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE, (0, 0), content);
    }

    /// Adds a file that can be run.
    pub fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, (0, 0), content);
    }

    /// Adds a file whose content begins at a multiple of 16 bytes, which processors want of microcode.
    /// The name makes up for it: the format allows more than one zero at its end.
    pub fn aligned_file(&mut self, path: &str, content: &[u8]) {
        let begins = self.bytes.len() + HEADER_BYTES + path.len() + 1;
        let padded = format!("{path}{}", "\0".repeat(begins.next_multiple_of(16) - begins));
        self.entry(&padded, FILE, (0, 0), content);
    }

    /// Adds a character device with its major and minor number.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        let links = if mode == FOLDER { 2 } else { 1 };
        let (size, name_size) = (content.len(), path.len() + 1);
        // inode, mode, uid, gid, links, mtime, size, device, rdevice, name size, check
        let header = format!(
            "070701{:08X}{mode:08X}{:08X}{:08X}{links:08X}{:08X}{size:08X}{:08X}{:08X}{major:08X}{minor:08X}{name_size:08X}{:08X}",
            self.entries, 0, 0, 0, 0, 0, 0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_layout_the_kernel_expects() {
        let mut archive = Archive::default();
        archive.file("init", b"hello");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000081A4");
        assert_eq!(&bytes[54..62], b"00000005");
        assert_eq!(&bytes[94..102], b"00000005");
        assert_eq!(&bytes[110..115], b"init\0");
        assert_eq!(&bytes[116..121], b"hello");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn an_aligned_file_begins_where_it_must() {
        for name in ["a", "ab", "kernel/x86/microcode/GenuineIntel.bin"] {
            let mut archive = Archive::default();
            archive.folder("kernel");
            archive.aligned_file(name, b"content");
            let bytes = archive.finish();
            let at = bytes.windows(7).position(|window| window == b"content").unwrap();
            assert_eq!(at % 16, 0, "{name}");
            assert!(bytes.windows(name.len() + 1).any(|window| window == format!("{name}\0").as_bytes()));
        }
    }

    #[test]
    fn a_device_carries_its_numbers() {
        let mut archive = Archive::default();
        archive.device("dev/console", 5, 1);
        let bytes = archive.finish();
        assert_eq!(&bytes[14..22], b"00002180");
        assert_eq!(&bytes[78..94], b"0000000500000001");
    }
}
