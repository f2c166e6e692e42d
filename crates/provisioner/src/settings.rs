//! The owner's settings, written by the monitor.

use serde::Deserialize;

/// Name of a box whose owner gave it none.
pub const DEFAULT_HOSTNAME: &str = "actionbooster";

const KEY_KINDS: [&str; 6] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// What the owner wishes, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether connections to the internet are allowed.
    pub online: bool,
    /// One DNS label, lower case.
    pub hostname: String,
    /// Lines for `authorized_keys`; SSH is on when there is one.
    pub ssh_keys: Vec<String>,
    /// Other nodes this box is joined to.
    pub join: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { online: false, hostname: DEFAULT_HOSTNAME.into(), ssh_keys: Vec::new(), join: Vec::new() }
    }
}

/// Fields of a later version are left alone, so that going back to this one works.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Written {
    online: bool,
    hostname: Option<String>,
    ssh_keys: Vec<String>,
    cluster: WrittenCluster,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenCluster {
    join: Vec<String>,
}

impl Settings {
    /// Reads `settings.toml`. What cannot be used takes its default and is told in the list: a
    /// bad file must never keep the box from starting.
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let written: Written = match toml::from_str(text) {
            Ok(written) => written,
            Err(error) => {
                let problem =
                    format!("settings.toml cannot be read, so defaults are used: {}", error.message());
                return (Self::default(), vec![problem]);
            }
        };
        let mut problems = Vec::new();
        let mut settings = Self { online: written.online, ..Self::default() };
        if let Some(name) = written.hostname {
            if is_hostname(&name) {
                settings.hostname = name;
            } else {
                problems.push(format!(
                    "hostname {name:?} is not a name of lower-case letters, digits and inner hyphens (63 at most); {DEFAULT_HOSTNAME} is used"
                ));
            }
        }
        for (index, key) in written.ssh_keys.iter().enumerate() {
            let key = key.trim();
            if is_public_key(key) {
                settings.ssh_keys.push(key.to_owned());
            } else {
                problems.push(format!("ssh_keys[{index}] is not an OpenSSH public key; it is left out"));
            }
        }
        for node in written.cluster.join {
            if is_node(&node) {
                settings.join.push(node);
            } else {
                problems
                    .push(format!("cluster.join: {node:?} is not a host name or address; it is left out"));
            }
        }
        (settings, problems)
    }
}

fn is_hostname(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// A bare key line: kind, base64, comment. Options before the kind would let a key run commands.
fn is_public_key(line: &str) -> bool {
    let mut words = line.split(' ');
    let kind = words.next().is_some_and(|word| KEY_KINDS.contains(&word));
    let body = words.next().is_some_and(|word| {
        word.len() >= 40
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
    });
    kind && body && line.len() <= 8192 && !line.chars().any(char::is_control)
}

fn is_node(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1dXkTn7b6cGvVnq3cQmN0s5m8bB5v1k2l3m4n5o6p7 owner@laptop";

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(Settings::parse(""), (Settings::default(), vec![]));
    }

    #[test]
    fn what_the_owner_wrote_is_taken() {
        let text = format!(
            "online = true\nhostname = \"kitchen-2\"\nssh_keys = [\"{KEY}\"]\nlater = 1\n[cluster]\njoin = [\"10.0.0.2\"]\n"
        );
        let expected = Settings {
            online: true,
            hostname: "kitchen-2".into(),
            ssh_keys: vec![KEY.into()],
            join: vec!["10.0.0.2".into()],
        };
        assert_eq!(Settings::parse(&text), (expected, vec![]));
    }

    #[test]
    fn one_bad_field_costs_only_that_field() {
        let cases = [
            "hostname = \"Kitchen\"".to_owned(),
            "hostname = \"-x\"".to_owned(),
            "hostname = \"a.b\"".to_owned(),
            format!("hostname = \"{}\"", "a".repeat(64)),
            format!("ssh_keys = ['command=\"/bin/sh\" {KEY}']"),
            format!("ssh_keys = [\"\"\"{KEY}\nssh-rsa AAAA\"\"\"]"),
            "ssh_keys = [\"ssh-ed25519 short\"]".to_owned(),
            "[cluster]\njoin = [\"a b\"]".to_owned(),
        ];
        for case in cases {
            let text = format!("online = true\n{case}\n");
            let (settings, problems) = Settings::parse(&text);
            assert_eq!(problems.len(), 1, "{case}");
            assert_eq!(settings, Settings { online: true, ..Settings::default() }, "{case}");
        }
    }

    #[test]
    fn a_file_that_is_no_toml_means_the_defaults_and_a_problem() {
        for text in ["online = ", "online = \"yes\"", "\u{0}\u{0}\u{0}", "ssh_keys = 3"] {
            let (settings, problems) = Settings::parse(text);
            assert_eq!(settings, Settings::default(), "{text:?}");
            assert_eq!(problems.len(), 1, "{text:?}");
        }
    }
}
