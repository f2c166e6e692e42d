//! The box's own certificate authority, which the owner's devices are told to trust.

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::{Key, TlsError, days_from, hex, lasts, serial};

const VALID_DAYS: i64 = 3_650;
/// A server certificate must never outlive the authority.
const LEAST_DAYS_LEFT: i64 = 400;
/// A box whose clock ran ahead when it made the authority is believed by devices whose clock is right.
const DAYS_BEFORE: i64 = 365;

/// The authority's certificate.
pub struct Authority {
    pem: String,
    der: Vec<u8>,
}

impl Authority {
    /// Makes the certificate for a key. The subject follows from the key, so that one made anew
    /// is the same authority to the devices that trust it.
    pub fn make(key: &Key, now: Timestamp) -> Result<Self, TlsError> {
        let certificate = Self::parameters(key, now)?
            .self_signed(&key.0)
            .map_err(|error| TlsError::Make("authority's certificate", error))?;
        Ok(Self { pem: certificate.pem(), der: certificate.der().to_vec() })
    }

    /// Reads a certificate, if it is this key's and good for long enough.
    pub fn read(pem: &str, key: &Key, now: Timestamp) -> Option<Self> {
        let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
        let der = block.contents;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let validity = certificate.validity();
        let good = certificate.public_key().raw == key.public()
            && certificate.is_ca()
            && certificate.verify_signature(None).is_ok()
            && lasts(validity.not_before.timestamp(), validity.not_after.timestamp(), now, LEAST_DAYS_LEFT);
        good.then(|| Self { pem: pem.to_owned(), der })
    }

    /// The certificate as text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    fn parameters(key: &Key, now: Timestamp) -> Result<CertificateParams, TlsError> {
        let mut parameters = CertificateParams::default();
        let short = hex(&Sha256::digest(key.public())[..4]);
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, "ActionBooster");
        subject.push(DnType::CommonName, format!("ActionBooster local authority {short}"));
        parameters.distinguished_name = subject;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.serial_number = Some(serial());
        parameters.not_before = days_from(now, -DAYS_BEFORE)?;
        parameters.not_after = days_from(now, VALID_DAYS)?;
        Ok(parameters)
    }
}
