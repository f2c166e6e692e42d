//! The keys of one program: sealing and opening.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::{BoxKey, KEY_BYTES};

/// How every sealed text begins.
const MARK: &str = "sealed.v1.";
/// Bytes of a keyring's file at most; a line takes 54.
const MOST_BYTES: u64 = 4096;

/// Why a secret cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The keyring is empty.
    #[error("this box has no key for its secrets")]
    NoKey,
    /// The system gives no random numbers, or the secret is larger than memory.
    #[error("the secret could not be sealed")]
    Failed,
}

/// Why a sealed text stays closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not a sealed text.
    #[error("it is not sealed")]
    NotSealed,
    /// The key is not there: another box's, or one that a TPM has forgotten.
    #[error("it was sealed with the key {0}, which this box does not have now")]
    UnknownKey(String),
    /// Something in it was changed, or it belongs to something else.
    #[error("it is damaged, or was taken from another place")]
    Damaged,
}

/// Whether a text is meant to be a sealed one.
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(MARK)
}

/// The keys of one program. The first seals, all open. One without keys does neither.
#[derive(Default)]
pub struct Keyring {
    keys: Vec<(String, [u8; KEY_BYTES])>,
}

impl Keyring {
    /// The keys that a program gets of the box's; the first seals.
    pub fn of(boxes: &[BoxKey], program: &str) -> Self {
        Self { keys: boxes.iter().map(|key| (key.id(), key.derive(program))).collect() }
    }

    /// Reads a keyring from its text: one key a line, its id and itself in base64. Nothing where a line
    /// is none, or there is no key.
    pub fn parse(text: &str) -> Option<Self> {
        let key = |line: &str| {
            let (id, key) = line.split_once(' ')?;
            Some((id.to_owned(), STANDARD.decode(key).ok()?.try_into().ok()?))
        };
        let keys: Vec<_> = text.lines().map(key).collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// Reads a keyring from a file. Blocks, for a small file.
    pub fn load(path: &Path) -> std::io::Result<Self> {
        use std::io::{Error, ErrorKind, Read};
        let mut text = String::new();
        std::fs::File::open(path)?.take(MOST_BYTES).read_to_string(&mut text)?;
        let none = || Error::new(ErrorKind::InvalidData, format!("{} holds no keys", path.display()));
        Self::parse(&text).ok_or_else(none)
    }

    /// What [`Keyring::parse`] reads.
    pub fn text(&self) -> String {
        self.keys.iter().map(|(id, key)| format!("{id} {}\n", STANDARD.encode(key))).collect()
    }

    /// Ids of the keys; the first seals.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(id, _)| id.as_str())
    }

    /// Seals a secret that belongs to something: it is opened for that alone.
    pub fn seal(&self, belongs_to: &str, secret: &[u8]) -> Result<String, SealError> {
        let (id, key) = self.keys.first().ok_or(SealError::NoKey)?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::Failed)?;
        let mut data = secret.to_vec();
        let (unique, about) = (Nonce::assume_unique_for_key(nonce), Aad::from(about(id, belongs_to)));
        cipher(key).seal_in_place_append_tag(unique, about, &mut data).map_err(|_| SealError::Failed)?;
        Ok(format!("{MARK}{id}.{}", URL_SAFE_NO_PAD.encode([&nonce[..], &data].concat())))
    }

    /// Opens what was sealed for the same thing.
    pub fn open(&self, belongs_to: &str, sealed: &str) -> Result<Vec<u8>, OpenError> {
        let (id, data) =
            sealed.strip_prefix(MARK).and_then(|rest| rest.split_once('.')).ok_or(OpenError::NotSealed)?;
        let (_, key) = self
            .keys
            .iter()
            .find(|(known, _)| known == id)
            .ok_or_else(|| OpenError::UnknownKey(id.chars().take(8).collect()))?;
        let data = URL_SAFE_NO_PAD.decode(data).map_err(|_| OpenError::Damaged)?;
        let (nonce, data) = data.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Damaged)?;
        let mut data = data.to_vec();
        let (nonce, about) = (Nonce::assume_unique_for_key(*nonce), Aad::from(about(id, belongs_to)));
        let length =
            cipher(key).open_in_place(nonce, about, &mut data).map_err(|_| OpenError::Damaged)?.len();
        data.truncate(length);
        Ok(data)
    }

    /// Whether a sealed text was made with the key that seals now.
    pub fn is_current(&self, sealed: &str) -> bool {
        let id = sealed.strip_prefix(MARK).and_then(|rest| Some(rest.split_once('.')?.0));
        id == self.keys.first().map(|(id, _)| id.as_str())
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.ids()).finish()
    }
}

fn about(id: &str, belongs_to: &str) -> Vec<u8> {
    format!("{MARK}{id}\0{belongs_to}").into_bytes()
}

fn cipher(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    match UnboundKey::new(&CHACHA20_POLY1305, key) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => unreachable!("a key of ChaCha20-Poly1305 has 32 bytes"),
    }
}
