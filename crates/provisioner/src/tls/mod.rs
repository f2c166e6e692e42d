//! Making and judging certificates. No files here: PEM text in, PEM text out.

mod authority;
mod name_constraints;
mod rotation;
mod server;

use jiff::{Timestamp, ToSpan};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

pub use authority::{Authority, Root};
pub use name_constraints::NameConstraints;
pub use rotation::{Rotation, handover};
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
    /// Key and certificate do not belong together.
    #[error("the certificate is another key's")]
    Stranger,
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

    /// Tells this key from others in names.
    pub fn short(&self) -> String {
        hex(&Sha256::digest(self.public())[..4])
    }
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

/// So many days later, or earlier; the end of time where there is no such date.
fn days_after(moment: Timestamp, days: i64) -> Timestamp {
    let last = if days < 0 { Timestamp::MIN } else { Timestamp::MAX };
    moment.checked_add((days * 24).hours()).unwrap_or(last)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa};

    use super::*;

    /// A moment of the tests.
    pub(super) fn day(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap()
    }

    /// An authority as the first versions made them.
    pub(super) fn unlimited(now: Timestamp) -> Authority {
        let key = Key::make().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "ActionBooster local authority old");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.not_before = days_from(now, -365).unwrap();
        parameters.not_after = days_from(now, 3_650).unwrap();
        let root = Root::read_all(&parameters.self_signed(&key.0).unwrap().pem()).remove(0);
        assert!(!root.is_limited() && root.permits("example.com"));
        Authority::new(key, root).unwrap()
    }

    #[test]
    fn torn_keys_are_no_keys() {
        let pem = Key::make().unwrap().pem();
        assert!(Key::read(&pem).is_some());
        for text in ["", "x", &pem[..pem.len() / 2]] {
            assert!(Key::read(text).is_none());
        }
    }

    #[test]
    fn an_authority_is_read_with_its_key_or_not_at_all() {
        let authority = Authority::make(Key::make().unwrap(), &["box-7".into()], day(0)).unwrap();
        let text = authority.text();
        let read = Root::read_all(&text).remove(0);
        assert_eq!(read.fingerprint(), authority.root().fingerprint());
        assert_eq!(read.made(), day(0));
        assert!(read.permits("box-7") && read.permits("fd00::1") && !read.permits("example.com"));
        assert!(Authority::new(Key::read(&text).unwrap(), read.clone()).is_ok());
        assert!(Authority::new(Key::make().unwrap(), read).is_err(), "another key");
        assert!(Root::read_all(&text[..text.len() - 60]).is_empty(), "torn");
        assert!(Root::read_all("").is_empty(), "empty");
        let two = format!("{}{}", authority.root().pem(), unlimited(day(0)).root().pem());
        assert_eq!(Root::read_all(&two).len(), 2);
    }
}
