//! The key on paper that opens an encrypted disk when the machine's TPM does not.

use crate::claim_code::{ALPHABET, normalise};

/// Characters in a key, of five bits each: 140 bits, which nobody guesses.
pub const LENGTH: usize = 28;
/// Characters in a group.
const GROUP: usize = 4;

/// A key out of random bytes, in the groups in which it is shown and kept.
pub fn from_random(bytes: [u8; LENGTH]) -> String {
    let letters: Vec<u8> = bytes.iter().map(|byte| ALPHABET[usize::from(*byte) % ALPHABET.len()]).collect();
    grouped(&letters)
}

/// The key that somebody typed, in its groups; `None` when it cannot be one.
pub fn read(typed: &str) -> Option<String> {
    let letters = normalise(typed);
    let is_key = letters.len() == LENGTH && letters.bytes().all(|byte| ALPHABET.contains(&byte));
    is_key.then(|| grouped(letters.as_bytes()))
}

fn grouped(letters: &[u8]) -> String {
    let groups: Vec<String> =
        letters.chunks(GROUP).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ABCD-EFGH-JKLM-NPQR-STUV-WXYZ-2345";

    #[test]
    fn a_key_is_read_however_it_is_typed() {
        let bytes: [u8; LENGTH] = std::array::from_fn(|place| u8::try_from(place + 32).unwrap());
        assert_eq!(from_random(bytes), KEY);
        for typed in [KEY, "abcdefghjklmnpqrstuvwxyz2345", " ABCD EFGH JKLM NPQR STUV WXYZ 2345\r"] {
            assert_eq!(read(typed).as_deref(), Some(KEY), "{typed:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_key_is_none() {
        for typed in ["", "ABCD-EFGH", &format!("{KEY}6"), &KEY.replace('A', "0"), &KEY.replace('A', "Ä")] {
            assert_eq!(read(typed), None, "{typed:?}");
        }
    }
}
