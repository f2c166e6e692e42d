//! Main memory.

use crate::inventory::Memory;
use crate::tree::Tree;

/// Reads `MemTotal`, which is what the kernel can use; 0 when it is not told.
pub fn read(tree: &Tree) -> Memory {
    let path = "proc/meminfo";
    let total = total_bytes(&tree.lines(path));
    if total.is_none() {
        tree.warn(path, "there is no usable MemTotal line");
    }
    Memory { total_bytes: total.unwrap_or(0) }
}

fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::total_bytes;

    #[test]
    fn the_total_is_read_in_bytes_or_not_at_all() {
        let cases = [
            ("MemTotal:        2014832 kB\nMemFree: 1 kB\n", Some(2_014_832 * 1024)),
            ("MemFree: 1 kB\nMemTotal: 8 kB", Some(8192)),
            ("MemTotal: 8", None),
            ("MemTotal: -8 kB", None),
            ("MemTotal: 99999999999999999999 kB", None),
            ("MemTotal: 18446744073709551615 kB", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(total_bytes(text), expected, "{text:?}");
        }
    }
}
