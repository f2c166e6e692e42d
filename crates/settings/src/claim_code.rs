//! The code on the box's screen that makes a stranger its owner.

/// Characters of a code: none that people take for another. 32 of them, so five bits each.
pub const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Characters in a code.
pub const LENGTH: usize = 8;

/// A code out of random bytes.
pub fn from_random(bytes: [u8; LENGTH]) -> String {
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// Whether this is a whole code, as it is kept.
pub fn is_code(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// As it is kept: in capital letters, without the blanks and dashes that people type.
pub fn normalise(typed: &str) -> String {
    let kept = |letter: &char| !letter.is_whitespace() && !matches!(letter, '-' | '–' | '—');
    typed.chars().filter(kept).flat_map(char::to_uppercase).collect()
}

/// As it is shown: in two groups.
pub fn shown(code: &str) -> String {
    let (first, second) = code.split_at_checked(LENGTH / 2).unwrap_or((code, ""));
    format!("{first}-{second}")
}
