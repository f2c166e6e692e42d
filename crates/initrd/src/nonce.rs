//! The boot nonce: by it the disk is known that GRUB started from.

/// The nonce's name in GRUB's file, which has the form of its environment.
const VARIABLE: &str = "BOOT_NONCE";
const NONCE_LIMIT_BYTES: usize = 80;

/// What GRUB wrote down at this start, and at no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// Takes a word of letters, digits, dots and dashes.
    pub fn parse(word: &str) -> Option<Self> {
        let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        (plain && (1..=NONCE_LIMIT_BYTES).contains(&word.len())).then(|| Self(word.to_owned()))
    }

    /// Finds it in the text of GRUB's file.
    pub(crate) fn in_environment(text: &str) -> Option<Self> {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(VARIABLE)?.strip_prefix('='));
        Self::parse(values.next()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nonce_is_found_among_what_else_is_kept_there() {
        for (text, expected) in [
            (
                "# GRUB Environment Block\nBOOT_COUNT=12\nBOOT_NONCE=12.2026-1.a\nOTHER=A B\n######",
                Some("12.2026-1.a"),
            ),
            ("BOOT_NONCE=1\nBOOT_NONCE=2\n", Some("1")),
            ("# GRUB Environment Block\nXBOOT_NONCE=1\n####", None),
            ("BOOT_NONCE=\n", None),
            ("BOOT_NONCE=a b\n", None),
            ("BOOT_NONCE2=1\n", None),
            ("", None),
        ] {
            assert_eq!(Nonce::in_environment(text), expected.and_then(Nonce::parse), "{text:?}");
        }
        assert_eq!(Nonce::parse(&"1".repeat(NONCE_LIMIT_BYTES + 1)), None);
    }
}
