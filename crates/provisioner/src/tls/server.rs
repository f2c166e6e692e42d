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

use super::{Authority, Key, Root, TlsError, days_after, days_from, serial};

/// Devices accept 398 days at most. Those before the making are for devices whose clocks are behind, and
/// the many after it for a box whose clock is behind: where nobody tells it the time, that must be usable too.
const VALID_DAYS: i64 = 365;
const DAYS_BEFORE: i64 = 30;
const RENEW_DAYS_LEFT: i64 = 120;
/// A new one must last so much longer to be worth a renewal: near its end an authority cuts them all short.
const WORTH_DAYS: i64 = 1;

/// A certificate that was made earlier.
pub struct Server {
    der: Vec<u8>,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Server {
    /// Makes a certificate for names and addresses, all of which the authority must permit.
    pub fn make(
        names: &[String],
        key: &Key,
        authority: &Authority,
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
        parameters.not_after = days_from(end(authority.root(), now), 0)?;
        let issuer = Issuer::from_ca_cert_pem(authority.root().pem(), &authority.key().0).map_err(failed)?;
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
        let moment = |second| Timestamp::from_second(second).map_err(|_| TlsError::Parse);
        let not_before = moment(validity.not_before.timestamp())?;
        let not_after = moment(validity.not_after.timestamp())?;
        Ok(Self { der, names, not_before, not_after })
    }

    /// Whether it serves: right names, the addresses of now, the right key, signed by the
    /// authority, valid and not about to end. Addresses the box had earlier do no harm.
    pub fn serves(
        &self,
        names: &[String],
        addresses: &[String],
        key: &Key,
        authority: &Root,
        now: Timestamp,
    ) -> bool {
        let is_name = |name: &&String| name.parse::<IpAddr>().is_err();
        let wanted: BTreeSet<_> = names.iter().filter(is_name).collect();
        let present: BTreeSet<_> = self.names.iter().filter(is_name).collect();
        let reachable = names.iter().chain(addresses).all(|name| self.names.contains(name));
        let permitted = self.names.iter().all(|name| authority.permits(name));
        wanted == present
            && reachable
            && permitted
            && self.lasts(authority, now)
            && self.is_signed(key, authority)
    }

    fn lasts(&self, authority: &Root, now: Timestamp) -> bool {
        let long = self.not_after >= days_after(now, RENEW_DAYS_LEFT);
        let as_long_as_can_be = days_after(self.not_after, WORTH_DAYS) > end(authority, now);
        self.not_before <= now && self.not_after > now && (long || as_long_as_can_be)
    }

    fn is_signed(&self, key: &Key, authority: &Root) -> bool {
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

/// When a certificate that is made now ends.
fn end(authority: &Root, now: Timestamp) -> Timestamp {
    days_after(now, VALID_DAYS).min(authority.not_after())
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
    use crate::tls::tests::day;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn authority(days: i64) -> Authority {
        Authority::make(Key::make().unwrap(), &names(&["box"]), day(days)).unwrap()
    }

    #[test]
    fn a_certificate_serves_until_something_it_stands_on_changes() {
        let key = Key::make().unwrap();
        let authority_of_box = authority(0);
        let own = names(&["box.local", "localhost", "127.0.0.1", "::1"]);
        let all: Vec<_> = own.iter().cloned().chain(names(&["10.0.0.7", "fd00::7"])).collect();
        let pem = Server::make(&all, &key, &authority_of_box, day(0)).unwrap();
        let server = Server::read(&pem).unwrap();
        assert_eq!(server.names(), all);
        assert!(server.not_after() <= days_after(server.not_before, 398));

        let other_key = Key::make().unwrap();
        let other_authority = authority(0);
        let holds = |own: &[&str], addresses: &[&str], key, authority: &Authority, now| {
            server.serves(&names(own), &names(addresses), key, authority.root(), now)
        };
        let same = ["box.local", "localhost", "127.0.0.1", "::1"];
        let own = &authority_of_box;
        assert!(holds(&same, &["10.0.0.7", "fd00::7"], &key, own, day(0)), "as made");
        assert!(holds(&same, &[], &key, own, day(0)), "with an address gone");
        assert!(holds(&same, &[], &key, own, day(-30)), "for a clock that is a month behind");
        assert!(holds(&same, &[], &key, own, day(245)), "four months before its end");
        assert!(!holds(&same, &[], &key, own, day(246)), "less than that");
        assert!(!holds(&same, &[], &key, own, day(-31)), "before its time");
        assert!(!holds(&same, &["10.0.0.8"], &key, own, day(0)), "with a new address");
        assert!(!holds(&["new.local", "127.0.0.1"], &[], &key, own, day(0)), "under a new name");
        assert!(!holds(&["box.local", "127.0.0.1"], &[], &key, own, day(0)), "with a name given up");
        assert!(!holds(&same, &[], &other_key, own, day(0)), "with another key");
        assert!(!holds(&same, &[], &key, &other_authority, day(0)), "with another authority");
    }

    #[test]
    fn an_authority_made_anew_from_its_key_still_vouches_for_the_server() {
        let (first, key) = (authority(0), Key::make().unwrap());
        let own = names(&["box.local"]);
        let pem = Server::make(&own, &key, &first, day(0)).unwrap();
        let again = Authority::make(first.into_key(), &own, day(10)).unwrap();
        assert!(Server::read(&pem).unwrap().serves(&own, &[], &key, again.root(), day(10)));
    }

    #[test]
    fn a_certificate_ends_with_its_authority_and_is_not_renewed_for_nothing() {
        let (old, key, own) = (authority(-1_775), Key::make().unwrap(), names(&["box.local"]));
        let pem = Server::make(&own, &key, &old, day(0)).unwrap();
        let server = Server::read(&pem).unwrap();
        assert_eq!(server.not_after(), old.root().not_after());
        assert!(server.serves(&own, &[], &key, old.root(), day(49)));
        assert!(!server.serves(&own, &[], &key, old.root(), day(50)), "it has ended");
    }
}
