//! What may come in and go out.

use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// Networks that are not the internet: private, link-local, multicast, broadcast.
const LAN: [(&str, &str); 9] = [
    ("10.0.0.0/8", "LAN"),
    ("172.16.0.0/12", "LAN"),
    ("192.168.0.0/16", "LAN"),
    ("169.254.0.0/16", "LAN without DHCP"),
    ("224.0.0.0/4", "Multicast"),
    ("255.255.255.255", "Broadcast"),
    ("fe80::/10", "LAN without DHCP"),
    ("fc00::/7", "LAN"),
    ("ff00::/8", "Multicast"),
];

/// The firewall: everything incoming is dropped and everything outgoing is refused, but for these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// What may come in.
    pub incoming: Vec<FirewallRule>,
    /// What may go out. Online mode is one rule more, so that switching it never opens a gap.
    pub outgoing: Vec<FirewallRule>,
}

/// One exception, which lets through what the policy forbids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallRule {
    /// Any protocol when absent.
    pub protocol: Option<Protocol>,
    /// Any port when absent.
    pub port: Option<u16>,
    /// Network it goes to; anywhere when absent.
    pub to: Option<String>,
    /// For people.
    pub comment: String,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// The exceptions of the product and of the owner's settings. DHCP, ICMP and replies are allowed
/// by the rules that UFW itself ships.
pub fn rules(settings: &Settings) -> Firewall {
    let mut incoming = vec![
        incoming(Protocol::Tcp, 80, "Way to trust the box"),
        incoming(Protocol::Tcp, 443, "Portal and API"),
        incoming(Protocol::Udp, 5353, "mDNS"),
    ];
    if !settings.ssh_keys.is_empty() {
        incoming.push(self::incoming(Protocol::Tcp, 22, "SSH"));
    }
    let mut outgoing: Vec<_> =
        LAN.iter().map(|(network, comment)| outgoing(Some(network), comment)).collect();
    if settings.online {
        outgoing.push(self::outgoing(None, "Online mode"));
    }
    Firewall { incoming, outgoing }
}

fn incoming(protocol: Protocol, port: u16, comment: &str) -> FirewallRule {
    FirewallRule { protocol: Some(protocol), port: Some(port), to: None, comment: comment.into() }
}

fn outgoing(network: Option<&str>, comment: &str) -> FirewallRule {
    FirewallRule { protocol: None, port: None, to: network.map(Into::into), comment: comment.into() }
}
