//! Bytes in words.

use std::fmt;

/// Bytes as people read them, in powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
        let (mut size, mut unit) = (self.0 as f64, 0);
        while size >= 1024.0 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(unit > 0 && size < 100.0);
        write!(formatter, "{size:.digits$} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (512 << 20, "512 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), expected);
        }
    }
}
