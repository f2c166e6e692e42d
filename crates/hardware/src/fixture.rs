//! Machines as text, laid out as folders for tests.
//!
//! A fixture is a list of files below a root:
//!
//! ```text
//! # a comment, at the start of a line
//! sys/block/sda/size: 1953525168          a file with this text and a line feed
//! proc/device-tree/model: "Board\0"       exactly these bytes; \0 \n \t \" \\ \xHH are understood
//! proc/meminfo:                           the indented lines that follow, without their indent
//!   MemTotal:       16303428 kB
//! sys/block/sda -> ../devices/sda         a symbolic link
//! sys/class/tpm/                          an empty folder
//! ```
//!
//! Folders on the way are made. The head of each fixture says where it comes from: captured on a
//! machine, or built from what the kernel documents.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::symlink;
use std::path::{Component, Path};

/// A small Intel computer of 2008 with 2 GB and no AVX2.
pub const OLD_PC: &str = include_str!("../fixtures/old-pc.tree");
/// An Orange Pi 5 with 8 GB, started from an SD card.
pub const ORANGE_PI_5: &str = include_str!("../fixtures/orange-pi-5.tree");
/// An Orange Pi 5 Plus with 16 GB, NVMe and a kernel that drives its NPU.
pub const ORANGE_PI_5_PLUS: &str = include_str!("../fixtures/orange-pi-5-plus.tree");
/// A Ryzen computer with a Radeon RX 6750 XT (Navi 22).
pub const PC_AMD: &str = include_str!("../fixtures/pc-amd.tree");
/// A hybrid Intel computer with a GeForce RTX 3060, whose nouveau driver found no firmware.
pub const PC_NVIDIA: &str = include_str!("../fixtures/pc-nvidia.tree");
/// A QEMU guest, captured.
pub const QEMU_VM: &str = include_str!("../fixtures/qemu-vm.tree");
/// A Raspberry Pi 5 with 8 GB.
pub const RASPBERRY_PI_5: &str = include_str!("../fixtures/raspberry-pi-5.tree");
/// A machine whose kernel files are broken or lie.
pub const HOSTILE: &str = include_str!("../fixtures/hostile.tree");

/// Lays the machine out below `folder`.
pub fn expand(text: &str, folder: &Path) -> Result<()> {
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        let bad = |what: &str| Error::new(ErrorKind::InvalidData, format!("line {}: {what}", index + 1));
        let name = head.trim_end_matches([':', '/']);
        let path = Path::new(name);
        if name.is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(bad("the path must be relative and plain"));
        }
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        if let Some(target) = rest.strip_prefix("-> ") {
            symlink(target, &path)?;
        } else if head.ends_with('/') && rest.is_empty() {
            fs::create_dir_all(&path)?;
        } else if !head.ends_with(':') {
            return Err(bad("neither a file, a link nor a folder"));
        } else if rest.is_empty() {
            let mut block = String::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with("  ") || line.is_empty()) {
                block.push_str(line.get(2..).unwrap_or(""));
                block.push('\n');
            }
            fs::write(&path, format!("{}\n", block.trim_end_matches('\n')))?;
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let bytes = quoted.strip_suffix('"').and_then(unescape);
            fs::write(&path, bytes.ok_or_else(|| bad("the quoted text is not closed or escaped well"))?)?;
        } else {
            fs::write(&path, format!("{rest}\n"))?;
        }
    }
    Ok(())
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'0' => 0,
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                plain @ (b'"' | b'\\') => plain,
                _ => return None,
            },
            b'"' => return None,
            plain => plain,
        });
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_makes_what_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let text = "# head\n\nsys/a: one two\nsys/b: \"x\\0\\xff\\\"\"\nproc/c:\n  k:\tv\n\n  w\n\n\
                    d/0000:01:00.0/class: 0x030000\nlink -> d/0000:01:00.0\nempty/\n";
        expand(text, root).unwrap();
        assert_eq!(fs::read(root.join("sys/a")).unwrap(), b"one two\n");
        assert_eq!(fs::read(root.join("sys/b")).unwrap(), b"x\0\xff\"");
        assert_eq!(fs::read(root.join("proc/c")).unwrap(), b"k:\tv\n\nw\n");
        assert_eq!(fs::read(root.join("link/class")).unwrap(), b"0x030000\n");
        assert!(root.join("empty").is_dir());
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        for text in ["/etc/x: y", "../x: y", "word", "a: \"open", "a: \"\\q\"", "a: \"\\x4\"", ": x", "  x"] {
            let folder = tempfile::tempdir().unwrap();
            let error = expand(&format!("# head\n{text}\n"), folder.path()).unwrap_err();
            assert!(error.to_string().starts_with("line 2: "), "{text}: {error}");
        }
    }
}
