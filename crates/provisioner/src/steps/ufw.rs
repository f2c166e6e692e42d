//! The contents of UFW's files, as UFW 0.36 writes and reads them.

use std::fmt::Write as _;

use crate::decide::{Action, Firewall, FirewallRule, Protocol};

/// IPv4 and IPv6 rules live in two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    const fn prefix(self) -> &'static str {
        match self {
            Self::V4 => "ufw",
            Self::V6 => "ufw6",
        }
    }

    const fn anywhere(self) -> &'static str {
        match self {
            Self::V4 => "0.0.0.0/0",
            Self::V6 => "::/0",
        }
    }

    fn has(self, network: &str) -> bool {
        network.contains(':') == (self == Self::V6)
    }
}

/// `/etc/default/ufw`: drop what comes in, refuse what goes out.
pub fn policies() -> String {
    "# Written by booster-provisioner.\n\
     IPV6=yes\n\
     DEFAULT_INPUT_POLICY=\"DROP\"\n\
     # Refused, not dropped: a program that may not go out learns it at once.\n\
     DEFAULT_OUTPUT_POLICY=\"REJECT\"\n\
     DEFAULT_FORWARD_POLICY=\"DROP\"\n\
     DEFAULT_APPLICATION_POLICY=\"SKIP\"\n\
     MANAGE_BUILTINS=no\n\
     IPT_SYSCTL=/etc/ufw/sysctl.conf\n\
     IPT_MODULES=\"\"\n"
        .into()
}

/// `/etc/ufw/ufw.conf`: on, without a log line for every stray packet.
pub fn switch() -> String {
    "# Written by booster-provisioner.\nENABLED=yes\nLOGLEVEL=off\n".into()
}

/// `/etc/ufw/user.rules` or `user6.rules`. Every chain named is emptied and filled in one go.
pub fn rules(firewall: &Firewall, family: Family) -> String {
    let ufw = family.prefix();
    let mut text = String::from("*filter\n");
    let chains = [
        "user-input",
        "user-output",
        "user-forward",
        "before-logging-input",
        "before-logging-output",
        "before-logging-forward",
        "user-logging-input",
        "user-logging-output",
        "user-logging-forward",
        "after-logging-input",
        "after-logging-output",
        "after-logging-forward",
        "logging-deny",
        "logging-allow",
        "user-limit",
        "user-limit-accept",
    ];
    for chain in chains {
        line(&mut text, &format!(":{ufw}-{chain} - [0:0]"));
    }
    line(&mut text, "### RULES ###\n");
    for (list, direction, chain) in
        [(&firewall.incoming, "in", "user-input"), (&firewall.outgoing, "out", "user-output")]
    {
        for rule in list.iter().filter(|rule| rule.to.as_deref().is_none_or(|network| family.has(network))) {
            line(&mut text, &tuple(rule, direction, family));
            line(&mut text, &format!("-A {ufw}-{chain}{} -j {}\n", matches(rule), target(rule)));
        }
    }
    line(&mut text, "### END RULES ###\n\n### LOGGING ###");
    for direction in ["input", "output", "forward"] {
        line(&mut text, &format!("-I {ufw}-user-logging-{direction} -j RETURN"));
    }
    line(&mut text, "### END LOGGING ###\n\n### RATE LIMITING ###");
    line(&mut text, &format!("-A {ufw}-user-limit -j REJECT"));
    line(&mut text, &format!("-A {ufw}-user-limit-accept -j ACCEPT"));
    line(&mut text, "### END RATE LIMITING ###\nCOMMIT");
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// The comment from which `ufw status` reads the rule.
fn tuple(rule: &FirewallRule, direction: &str, family: Family) -> String {
    let anywhere = family.anywhere();
    let port = rule.port.map_or_else(|| "any".to_owned(), |port| port.to_string());
    let to = rule.to.as_deref().unwrap_or(anywhere);
    let comment = rule.comment.bytes().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        _ = write!(hex, "{byte:02x}");
        hex
    });
    let (action, protocol) = (action(rule), protocol(rule));
    format!("### tuple ### {action} {protocol} {port} {to} any {anywhere} {direction} comment={comment}")
}

fn matches(rule: &FirewallRule) -> String {
    let mut text = String::new();
    if rule.protocol.is_some() {
        _ = write!(text, " -p {}", protocol(rule));
    }
    if let Some(network) = &rule.to {
        _ = write!(text, " -d {network}");
    }
    if let Some(port) = rule.port {
        _ = write!(text, " --dport {port}");
    }
    text
}

const fn action(rule: &FirewallRule) -> &'static str {
    match rule.action {
        Action::Allow => "allow",
        Action::Reject => "reject",
    }
}

const fn target(rule: &FirewallRule) -> &'static str {
    match (rule.action, rule.protocol) {
        (Action::Allow, _) => "ACCEPT",
        (Action::Reject, Some(Protocol::Tcp)) => "REJECT --reject-with tcp-reset",
        (Action::Reject, _) => "REJECT",
    }
}

const fn protocol(rule: &FirewallRule) -> &'static str {
    match rule.protocol {
        Some(Protocol::Tcp) => "tcp",
        Some(Protocol::Udp) => "udp",
        None => "any",
    }
}
