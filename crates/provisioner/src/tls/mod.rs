//! Making and judging certificates. No files here: PEM text in, PEM text out.

mod authority;
mod server;

use jiff::{Timestamp, ToSpan};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::pem::parse_x509_pem;

pub use authority::Authority;
pub use server::Server;

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key could not be made.
    #[error("cannot make the {0}")]
    Make(&'static str, #[source] rcgen::Error),
    /// The text is not a certificate.
    #[error("not a certificate in PEM form")]
    Parse,
    /// The date does not exist.
    #[error("the clock is out of range")]
    Clock,
}

/// A private key, ECDSA P-256.
pub struct Key(KeyPair);

impl Key {
    /// Makes a new one.
    pub fn make() -> Result<Self, TlsError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self).map_err(|error| TlsError::Make("key", error))
    }

    /// Reads one of ours; anything else is none.
    pub fn read(pem: &str) -> Option<Self> {
        let pair = KeyPair::from_pem(pem).ok()?;
        pair.is_compatible(&PKCS_ECDSA_P256_SHA256).then_some(Self(pair))
    }

    /// The key as text.
    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    fn public(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }
}

/// SHA-256 of the first certificate in the text, as browsers show it but without colons.
pub fn fingerprint(pem: &str) -> Option<String> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
    Some(hex(&Sha256::digest(&block.contents)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Browsers refuse two certificates of one authority with the same number, and a kept key would
/// otherwise give it.
fn serial() -> SerialNumber {
    let mut bytes = rand::random::<[u8; 16]>();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// So many days from a moment, for rcgen.
fn days_from(now: Timestamp, days: i64) -> Result<OffsetDateTime, TlsError> {
    let moment = now.checked_add((days * 24).hours()).map_err(|_| TlsError::Clock)?;
    OffsetDateTime::from_unix_timestamp(moment.as_second()).map_err(|_| TlsError::Clock)
}

/// Whether a validity has begun and lasts so many days more.
fn lasts(not_before: i64, not_after: i64, now: Timestamp, days: i64) -> bool {
    let now = now.as_second();
    not_before <= now && not_after - now >= days * 86_400
}
