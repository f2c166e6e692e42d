//! The certificate that nginx shows.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::{Authority, Key, TlsError, days_from, lasts, serial};

/// Devices accept 398 days at most; one of them lies before the making.
const VALID_DAYS: i64 = 396;
const DAYS_BEFORE: i64 = 1;
const RENEW_DAYS_LEFT: i64 = 30;

/// A certificate that was made earlier.
pub struct Server {
    der: Vec<u8>,
    names: Vec<String>,
    not_before: i64,
    not_after: Timestamp,
}

impl Server {
    /// Makes a certificate for names and addresses.
    pub fn make(
        names: &[String],
        key: &Key,
        authority: &Authority,
        authority_key: &Key,
        now: Timestamp,
    ) -> Result<String, TlsError> {
        let failed = |error| TlsError::Make("server's certificate", error);
        let mut parameters = CertificateParams::new(names.to_vec()).map_err(failed)?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, names.first().map_or("ActionBooster", String::as_str));
        parameters.distinguished_name = subject;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        parameters.serial_number = Some(serial());
        parameters.not_before = days_from(now, -DAYS_BEFORE)?;
        parameters.not_after = days_from(now, VALID_DAYS)?;
        let issuer = Issuer::from_ca_cert_pem(authority.pem(), &authority_key.0).map_err(failed)?;
        Ok(parameters.signed_by(&key.0, &issuer).map_err(failed)?.pem())
    }

    /// Reads a certificate.
    pub fn read(pem: &str) -> Result<Self, TlsError> {
        let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| TlsError::Parse)?;
        let der = block.contents;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| TlsError::Parse)?;
        let alternatives = certificate.subject_alternative_name().map_err(|_| TlsError::Parse)?;
        let names = alternatives
            .map_or_else(Vec::new, |found| found.value.general_names.iter().filter_map(name).collect());
        let validity = certificate.validity();
        let not_before = validity.not_before.timestamp();
        let not_after =
            Timestamp::from_second(validity.not_after.timestamp()).map_err(|_| TlsError::Parse)?;
        Ok(Self { der, names, not_before, not_after })
    }

    /// Whether it serves: right names, the addresses of now, the right key, signed by the
    /// authority, valid and not about to end. Addresses the box had earlier do no harm.
    pub fn serves(
        &self,
        names: &[String],
        addresses: &[String],
        key: &Key,
        authority: &Authority,
        now: Timestamp,
    ) -> bool {
        let is_name = |name: &&String| name.parse::<IpAddr>().is_err();
        let wanted: BTreeSet<_> = names.iter().filter(is_name).collect();
        let present: BTreeSet<_> = self.names.iter().filter(is_name).collect();
        let reachable = names.iter().chain(addresses).all(|name| self.names.contains(name));
        let lasting = lasts(self.not_before, self.not_after.as_second(), now, RENEW_DAYS_LEFT);
        wanted == present && reachable && lasting && self.is_signed(key, authority)
    }

    fn is_signed(&self, key: &Key, authority: &Authority) -> bool {
        let (Ok((_, own)), Ok((_, issuer))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(authority.der()))
        else {
            return false;
        };
        own.public_key().raw == key.public()
            && own.issuer() == issuer.subject()
            && own.verify_signature(Some(issuer.public_key())).is_ok()
    }

    /// Names and addresses it is for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When it ends.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn day(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap()
    }

    #[test]
    fn a_certificate_serves_until_something_it_stands_on_changes() {
        let (authority_key, key) = (Key::make().unwrap(), Key::make().unwrap());
        let authority = Authority::make(&authority_key, day(0)).unwrap();
        let own = names(&["box.local", "box", "127.0.0.1", "::1"]);
        let all: Vec<_> = own.iter().cloned().chain(names(&["10.0.0.7", "fd00::7"])).collect();
        let pem = Server::make(&all, &key, &authority, &authority_key, day(0)).unwrap();
        let server = Server::read(&pem).unwrap();
        assert_eq!(server.names(), all);
        assert!(server.not_after().as_second() - server.not_before <= 397 * 86_400);

        let other_key = Key::make().unwrap();
        let other_authority = Authority::make(&other_key, day(0)).unwrap();
        let holds = |own: &[&str], addresses: &[&str], key, authority, now| {
            server.serves(&names(own), &names(addresses), key, authority, now)
        };
        let same = ["box.local", "box", "127.0.0.1", "::1"];
        assert!(holds(&same, &["10.0.0.7", "fd00::7"], &key, &authority, day(0)), "as made");
        assert!(holds(&same, &[], &key, &authority, day(0)), "with an address gone");
        assert!(holds(&same, &[], &key, &authority, day(366)), "a month before its end");
        assert!(!holds(&same, &[], &key, &authority, day(367)), "less than that");
        assert!(!holds(&same, &[], &key, &authority, day(-2)), "before its time");
        assert!(!holds(&same, &["10.0.0.8"], &key, &authority, day(0)), "with a new address");
        assert!(!holds(&["new.local", "127.0.0.1"], &[], &key, &authority, day(0)), "under a new name");
        assert!(!holds(&["box.local", "127.0.0.1"], &[], &key, &authority, day(0)), "with a name given up");
        assert!(!holds(&same, &[], &other_key, &authority, day(0)), "with another key");
        assert!(!holds(&same, &[], &key, &other_authority, day(0)), "with another authority");
    }

    #[test]
    fn an_authority_made_anew_from_its_key_still_vouches_for_the_server() {
        let (authority_key, key) = (Key::make().unwrap(), Key::make().unwrap());
        let first = Authority::make(&authority_key, day(0)).unwrap();
        let own = names(&["box.local"]);
        let pem = Server::make(&own, &key, &first, &authority_key, day(0)).unwrap();
        let again = Authority::make(&authority_key, day(10)).unwrap();
        assert!(Server::read(&pem).unwrap().serves(&own, &[], &key, &again, day(10)));
    }

    #[test]
    fn an_authority_is_kept_while_it_is_its_keys_and_long_lived() {
        let (key, other) = (Key::make().unwrap(), Key::make().unwrap());
        let pem = Authority::make(&key, day(0)).unwrap().pem().to_owned();
        assert!(Authority::read(&pem, &key, day(0)).is_some());
        assert!(Authority::read(&pem, &other, day(0)).is_none(), "another key");
        assert!(Authority::read(&pem, &key, day(3_300)).is_none(), "near its end");
        assert!(Authority::read(&pem, &key, day(-400)).is_none(), "from the future");
        assert!(Authority::read(&pem[..pem.len() / 2], &key, day(0)).is_none(), "torn");
        assert!(Authority::read("", &key, day(0)).is_none(), "empty");
    }

    #[test]
    fn torn_keys_are_no_keys() {
        let pem = Key::make().unwrap().pem();
        assert!(Key::read(&pem).is_some());
        for text in ["", "x", &pem[..pem.len() / 2]] {
            assert!(Key::read(text).is_none());
        }
    }
}
