//! What may come in and go out.

use actionbooster_settings::Settings;
use serde::{Deserialize, Serialize};

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

/// The firewall: everything incoming is dropped and everything outgoing is refused, but for these rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// What may come in.
    pub incoming: Vec<FirewallRule>,
    /// What may go out. Online mode is one rule, so that switching it never opens a gap.
    pub outgoing: Vec<FirewallRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallRule {
    /// What it does.
    pub action: Action,
    /// Any protocol when absent.
    pub protocol: Option<Protocol>,
    /// Any port when absent.
    pub port: Option<u16>,
    /// Network it goes to; anywhere when absent.
    pub to: Option<String>,
    /// For people.
    pub comment: String,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Lets it through.
    Allow,
    /// Refuses it.
    Reject,
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
        allow_in(Protocol::Tcp, 80, "Way to trust the box"),
        allow_in(Protocol::Tcp, 443, "Portal and API"),
        allow_in(Protocol::Udp, 5353, "mDNS"),
    ];
    if !settings.ssh_keys.is_empty() {
        incoming.push(allow_in(Protocol::Tcp, 22, "SSH"));
    }
    let mut outgoing: Vec<_> =
        LAN.iter().map(|(network, comment)| outgoing(Action::Allow, None, Some(network), comment)).collect();
    outgoing.push(if settings.online {
        self::outgoing(Action::Allow, None, None, "Online mode")
    } else {
        // The policy refuses with an ICMP message, which a connecting program learns of a second
        // later; a reset it learns of at once.
        self::outgoing(Action::Reject, Some(Protocol::Tcp), None, "Online mode is off")
    });
    Firewall { incoming, outgoing }
}

fn allow_in(protocol: Protocol, port: u16, comment: &str) -> FirewallRule {
    let (action, protocol, port) = (Action::Allow, Some(protocol), Some(port));
    FirewallRule { action, protocol, port, to: None, comment: comment.into() }
}

fn outgoing(action: Action, protocol: Option<Protocol>, to: Option<&str>, comment: &str) -> FirewallRule {
    FirewallRule { action, protocol, port: None, to: to.map(Into::into), comment: comment.into() }
}
