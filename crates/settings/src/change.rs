//! A change that the owner asks for.

use serde::Deserialize;

use crate::{Fault, Hostname, MOST_SSH_KEYS, Problem, PublicKey, Settings, TimeZone};

/// Settings to change; what is absent stays.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Whether connections beyond the LAN are allowed.
    pub online: Option<bool>,
    /// Name of the box on the network.
    pub hostname: Option<String>,
    /// Time zone of the box.
    pub time_zone: Option<String>,
    /// All keys that may log in over SSH from now on.
    pub ssh_keys: Option<Vec<String>>,
}

impl Settings {
    /// The settings after a change, or the first value of it that cannot be used.
    pub fn changed(mut self, change: Change) -> Result<Self, Fault> {
        if let Some(online) = change.online {
            self.online = online;
        }
        if let Some(name) = change.hostname {
            self.hostname = Some(Hostname::parse(&name).map_err(|error| Fault::new("hostname", error))?);
        }
        if let Some(zone) = change.time_zone {
            self.time_zone = TimeZone::parse(&zone).map_err(|error| Fault::new("time_zone", error))?;
        }
        if let Some(lines) = change.ssh_keys {
            self.ssh_keys = keys(&lines)?;
        }
        Ok(self)
    }
}

/// The keys, each once.
fn keys(lines: &[String]) -> Result<Vec<PublicKey>, Fault> {
    let mut keys: Vec<PublicKey> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let key = PublicKey::parse(line).map_err(|error| Fault::new(format!("ssh_keys[{index}]"), error))?;
        if !keys.iter().any(|other| other.is_same_key(&key)) {
            keys.push(key);
        }
    }
    if keys.len() > MOST_SSH_KEYS {
        return Err(Fault::new("ssh_keys", Problem::TooMany(MOST_SSH_KEYS)));
    }
    Ok(keys)
}
