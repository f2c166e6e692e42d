//! What an authority may sign: names and addresses that mean something in a home only.
//!
//! The private key lies on a disk that can be stolen, and devices trust it. So the certificate that
//! they install says what the key is good for, and they refuse everything else it signs.

use std::net::IpAddr;

use rcgen::{CidrSubnet, GeneralSubtree};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::decide::FIRST_NAME;

/// Names that the public web cannot have (RFC 6762, RFC 6761), with all below them.
const DOMAINS: [&str; 2] = ["local", "localhost"];
/// Private (RFC 1918, RFC 4193), link-local and loopback addresses.
const NETWORKS: [(&str, u8); 8] = [
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("169.254.0.0", 16),
    ("127.0.0.0", 8),
    ("fc00::", 7),
    ("fe80::", 10),
    ("::1", 128),
];

/// The name constraints of an authority (RFC 5280, 4.2.1.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameConstraints {
    domains: Vec<String>,
    networks: Vec<Network>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Network {
    address: Vec<u8>,
    mask: Vec<u8>,
}

impl NameConstraints {
    /// Those of a new authority of a box with these names.
    pub fn new(own: &[String]) -> Self {
        let mut domains: Vec<String> = DOMAINS.iter().map(|name| (*name).to_owned()).collect();
        for name in own.iter().filter(|name| name.parse::<IpAddr>().is_err() && is_own(name)) {
            if !domains.iter().any(|domain| is_below(name, domain)) {
                domains.push(name.clone());
            }
        }
        let networks = NETWORKS.iter().filter_map(|(address, prefix)| Network::new(address, *prefix));
        Self { domains, networks: networks.collect() }
    }

    /// Those that a certificate tells; none if it may sign anything.
    pub fn of(certificate: &X509Certificate) -> Option<Self> {
        let extension = certificate.name_constraints().ok().flatten()?;
        let permitted = extension.value.permitted_subtrees.as_ref()?;
        let mut constraints = Self { domains: Vec::new(), networks: Vec::new() };
        for subtree in permitted {
            match &subtree.base {
                GeneralName::DNSName(name) => constraints.domains.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => {
                    let (address, mask) = bytes.split_at(bytes.len() / 2);
                    constraints.networks.push(Network { address: address.to_vec(), mask: mask.to_vec() });
                }
                _ => {}
            }
        }
        // A kind of name that is not limited at all may be anything.
        (extension.critical && !constraints.domains.is_empty() && !constraints.networks.is_empty())
            .then_some(constraints)
    }

    /// Whether a name or an address lies within.
    pub fn permit(&self, name: &str) -> bool {
        match name.parse() {
            Ok(IpAddr::V4(address)) => self.holds(&address.octets()),
            Ok(IpAddr::V6(address)) => self.holds(&address.octets()),
            Err(_) => self.domains.iter().any(|domain| is_below(name, domain)),
        }
    }

    /// As rcgen writes them.
    pub(super) fn extension(&self) -> rcgen::NameConstraints {
        let domains = self.domains.iter().cloned().map(GeneralSubtree::DnsName);
        let networks = self.networks.iter().filter_map(Network::subnet).map(GeneralSubtree::IpAddress);
        rcgen::NameConstraints {
            permitted_subtrees: domains.chain(networks).collect(),
            excluded_subtrees: Vec::new(),
        }
    }

    fn holds(&self, address: &[u8]) -> bool {
        self.networks.iter().any(|network| network.holds(address))
    }
}

impl Network {
    fn new(address: &str, prefix: u8) -> Option<Self> {
        let address = address.parse().ok()?;
        let (address, mask) = match CidrSubnet::from_addr_prefix(address, prefix) {
            CidrSubnet::V4(address, mask) => (address.to_vec(), mask.to_vec()),
            CidrSubnet::V6(address, mask) => (address.to_vec(), mask.to_vec()),
        };
        Some(Self { address, mask })
    }

    fn subnet(&self) -> Option<CidrSubnet> {
        let v4 = || Some(CidrSubnet::V4(self.address[..].try_into().ok()?, self.mask[..].try_into().ok()?));
        let v6 = || Some(CidrSubnet::V6(self.address[..].try_into().ok()?, self.mask[..].try_into().ok()?));
        v4().or_else(v6)
    }

    fn holds(&self, address: &[u8]) -> bool {
        let masked = |bytes: &[u8]| -> Vec<u8> {
            bytes.iter().zip(&self.mask).map(|(byte, mask)| byte & mask).collect()
        };
        address.len() == self.address.len() && masked(address) == masked(&self.address)
    }
}

/// A limit to `kitchen` would hold for all of a top-level domain of that name, if there is one.
/// Those consist of letters, or begin with `xn--`.
fn is_own(name: &str) -> bool {
    let is_label = !name.contains('.');
    let may_be_public = name.bytes().all(|byte| byte.is_ascii_alphabetic()) || name.starts_with("xn--");
    name == FIRST_NAME || !(is_label && may_be_public)
}

fn is_below(name: &str, domain: &str) -> bool {
    let rest = name.strip_suffix(domain);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constraints(own: &[&str]) -> NameConstraints {
        NameConstraints::new(&own.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_means_something_at_home_is_permitted() {
        let constraints = constraints(&["kitchen-2.local", "kitchen-2", "actionbooster", "localhost"]);
        let cases = [
            ("kitchen-2.local", true),
            ("other.local", true),
            ("kitchen-2", true),
            ("actionbooster", true),
            ("localhost", true),
            ("10.1.2.3", true),
            ("172.31.255.255", true),
            ("192.168.1.7", true),
            ("169.254.3.4", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("fd12::7", true),
            ("fe80::1", true),
            ("example.com", false),
            ("xlocal", false),
            ("local.example.com", false),
            ("172.32.0.1", false),
            ("11.0.0.1", false),
            ("192.169.0.1", false),
            ("100.64.0.1", false),
            ("2001:db8::7", false),
            ("::2", false),
            ("fec0::1", false),
        ];
        for (name, permitted) in cases {
            assert_eq!(constraints.permit(name), permitted, "{name}");
        }
    }

    #[test]
    fn a_host_name_that_may_be_a_public_domain_is_no_limit() {
        for name in ["kitchen", "box", "xn--kche-0ra", "com"] {
            assert!(!constraints(&[name]).permit(name), "{name}");
            assert!(!constraints(&[name]).permit(&format!("shop.{name}")), "{name}");
        }
        for name in ["box-7", "box7", "box.home.example"] {
            assert!(constraints(&[name]).permit(name), "{name}");
        }
    }
}
