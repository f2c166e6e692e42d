//! Secrets as they lie on the disk: sealed with a key of this box.
//!
//! The provisioner keeps the box's key ([`BoxKey`]), bound to the TPM where there is one, and gives each
//! program that keeps secrets a [`Keyring`] derived from it. What a keyring sealed, another program's
//! cannot open. A keyring may know several keys, because a TPM can forget one and remember it later: the
//! first seals, all open.
//!
//! A sealed text is `sealed.v1.<key>.<data>`: the id of the key, and in base64url a nonce of 12 bytes with
//! what ChaCha20-Poly1305 (RFC 8439) makes of the secret. What the secret belongs to is authenticated with
//! it, so that nobody can use a sealed text in another place.

mod keyring;

pub use keyring::{Keyring, OpenError, SealError, is_sealed};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// What the ids of box keys are hashed with, so that an id says nothing of the key.
const ID_LABEL: &[u8] = b"ActionBooster box key id\0";
const SALT: &[u8] = b"ActionBooster box key";

/// The system gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

/// The key of a box, from which those of its programs are derived.
pub struct BoxKey([u8; KEY_BYTES]);

impl BoxKey {
    /// A new one.
    pub fn make() -> Result<Self, NoRandom> {
        let mut bytes = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
        Ok(Self(bytes))
    }

    /// Reads one from [`BoxKey::text`]; anything else is none.
    pub fn read(text: &[u8]) -> Option<Self> {
        Some(Self(STANDARD.decode(text.trim_ascii()).ok()?.try_into().ok()?))
    }

    /// The key in base64, and a line feed.
    pub fn text(&self) -> String {
        STANDARD.encode(self.0) + "\n"
    }

    /// Tells it from others: 8 hexadecimal digits.
    pub fn id(&self) -> String {
        let hash = digest(&SHA256, &[ID_LABEL, &self.0].concat());
        hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The key of one program (HKDF-SHA256, RFC 5869).
    fn derive(&self, program: &str) -> [u8; KEY_BYTES] {
        let mut derived = [0; KEY_BYTES];
        let info = [program.as_bytes()];
        let expanded = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&self.0);
        // One block of the hash is always to be had.
        if let Ok(material) = expanded.expand(&info, hkdf::HKDF_SHA256)
            && material.fill(&mut derived).is_ok()
        {
            return derived;
        }
        unreachable!("HKDF-SHA256 gives 32 bytes")
    }
}

impl std::fmt::Debug for BoxKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "BoxKey({})", self.id())
    }
}

#[cfg(test)]
mod tests;
