//! The box's own certificate authority, which the owner's devices are told to trust.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::{Key, NameConstraints, TlsError, days_after, days_from, hex, serial};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

const VALID_DAYS: i64 = 5 * 365;
/// A box whose clock ran ahead when it made the authority is believed by devices whose clock is right.
const DAYS_BEFORE: i64 = 365;

/// The part of an authority that everybody may see.
#[derive(Debug, Clone)]
pub struct Root {
    pem: String,
    der: Vec<u8>,
    name: String,
    constraints: Option<NameConstraints>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// A certificate with its private key.
pub struct Authority {
    key: Key,
    root: Root,
}

impl Root {
    /// The authorities in a text of certificates, in their order; what is none is left out.
    pub fn read_all(text: &str) -> Vec<Self> {
        let rest = text.split(BEGIN).skip(1);
        rest.filter_map(|rest| Self::read(&format!("{BEGIN}{}{END}\n", rest.split(END).next()?))).collect()
    }

    fn read(pem: &str) -> Option<Self> {
        let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
        let der = block.contents;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let validity = certificate.validity();
        let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
        let good = certificate.is_ca() && certificate.verify_signature(None).is_ok();
        let constraints = NameConstraints::of(&certificate);
        let not_before = Timestamp::from_second(validity.not_before.timestamp()).ok()?;
        let not_after = Timestamp::from_second(validity.not_after.timestamp()).ok()?;
        good.then(|| Self { pem: pem.to_owned(), der, name, constraints, not_before, not_after })
    }

    /// The certificate as text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Under which devices list it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the certificate in hexadecimal, as devices show it but without colons.
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(&self.der))
    }

    /// Whether it is this key's.
    pub fn is_of(&self, key: &Key) -> bool {
        let certificate = X509Certificate::from_der(&self.der);
        certificate.is_ok_and(|(_, certificate)| certificate.public_key().raw == key.public())
    }

    /// Whether it says what it may sign. Those of the first versions do not.
    pub const fn is_limited(&self) -> bool {
        self.constraints.is_some()
    }

    /// Whether devices believe what it signs for this name or address.
    pub fn permits(&self, name: &str) -> bool {
        self.constraints.as_ref().is_none_or(|constraints| constraints.permit(name))
    }

    /// When it was made.
    pub fn made(&self) -> Timestamp {
        days_after(self.not_before, DAYS_BEFORE)
    }

    /// When it ends.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether its time has come.
    pub fn has_begun(&self, now: Timestamp) -> bool {
        self.not_before <= now
    }

    /// Whether its time is over.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.not_after <= now
    }
}

impl Authority {
    /// Makes the certificate for a key. The subject follows from the key, so that one made anew
    /// is the same authority to the devices that trust it.
    pub fn make(key: Key, own_names: &[String], now: Timestamp) -> Result<Self, TlsError> {
        let certificate = parameters(&key, own_names, now)?
            .self_signed(&key.0)
            .map_err(|error| TlsError::Make("authority's certificate", error))?;
        let root = Root::read(&certificate.pem()).ok_or(TlsError::Parse)?;
        Ok(Self { key, root })
    }

    /// A key with its certificate.
    pub fn new(key: Key, root: Root) -> Result<Self, TlsError> {
        if root.is_of(&key) { Ok(Self { key, root }) } else { Err(TlsError::Stranger) }
    }

    /// Key and certificate as one text, so that no cut comes between them.
    pub fn text(&self) -> String {
        self.key.pem() + &self.root.pem
    }

    /// What everybody may see of it.
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// Tells it from others in names of files.
    pub fn short(&self) -> String {
        self.key.short()
    }

    pub(super) const fn key(&self) -> &Key {
        &self.key
    }

    /// Gives the key back.
    pub fn into_key(self) -> Key {
        self.key
    }
}

fn parameters(key: &Key, own_names: &[String], now: Timestamp) -> Result<CertificateParams, TlsError> {
    let mut parameters = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "ActionBooster");
    subject.push(DnType::CommonName, format!("ActionBooster local authority {}", key.short()));
    parameters.distinguished_name = subject;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Else whoever has the key could sign programs and mail where the certificate is trusted for all.
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.name_constraints = Some(NameConstraints::new(own_names).extension());
    parameters.serial_number = Some(serial());
    parameters.not_before = days_from(now, -DAYS_BEFORE)?;
    parameters.not_after = days_from(now, VALID_DAYS)?;
    Ok(parameters)
}
