//! What is, beside the hardware: the owner's settings, names, addresses, groups, the clock.

use std::net::IpAddr;
use std::os::linux::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use actionbooster_hardware::{Inventory, survey};
use actionbooster_settings::{Fault, Hostname, Problem, Settings};
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::decide::FIRST_NAME;
use crate::last_run::LastRun;
use crate::layout::Layout;
use crate::machine::read_small;

/// Seconds by which a clock that is only kept in step never moves at once.
const JUMP_S: u64 = 60;

/// Reads the hardware of the tree, or of this machine where the tree is only a folder. What could not
/// be understood is told on standard error, which is the journal at boot.
pub fn inventory(layout: &Layout) -> Result<Inventory> {
    let own = layout.at("proc/meminfo").exists();
    let root = if own { layout.root() } else { Path::new("/") };
    let found = survey(root).context("cannot read what this machine is")?;
    for warning in &found.warnings {
        eprintln!("hardware: {warning}");
    }
    Ok(found.inventory)
}

/// The last settings without a fault, below the product's state.
pub const LAST_GOOD: &str = "provisioner/settings.last-good.toml";

/// The owner's settings.
pub struct OwnersSettings {
    /// As they are used.
    pub settings: Settings,
    /// What in the file cannot be used.
    pub faults: Vec<Fault>,
    /// The file, while nothing in it is wrong.
    pub good: Option<String>,
}

/// Reads the owner's settings; what is wrong in them is as it was last good.
pub fn settings(layout: &Layout) -> OwnersSettings {
    let text = |path: &Path| {
        let bytes = read_small(path).map_err(|error| error.to_string())?;
        bytes.map(|bytes| String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())).transpose()
    };
    let last_good = || {
        let text = text(&layout.state(LAST_GOOD)).ok().flatten().unwrap_or_default();
        Settings::read(&text, &Settings::default()).0
    };
    match text(&layout.state("settings/settings.toml")) {
        Ok(None) => OwnersSettings { settings: Settings::default(), faults: Vec::new(), good: None },
        Ok(Some(text)) => {
            let (settings, faults) = Settings::read(&text, &last_good());
            let good = faults.is_empty().then_some(text);
            OwnersSettings { settings, faults, good }
        }
        Err(reason) => {
            let faults = vec![Fault::new("settings.toml", Problem::Syntax(reason))];
            OwnersSettings { settings: Settings { online: false, ..last_good() }, faults, good: None }
        }
    }
}

/// The name of a box whose owner gave it none. Two boxes on one network must not answer for the same
/// name, so it ends in four letters that follow from the machine's identity. A name that was given
/// once stays: also the bare one of earlier versions, which wrote none down.
pub fn own_name(last: Option<&LastRun>, machine_id: Option<&str>) -> Result<Hostname> {
    let name = match (last, machine_id) {
        (Some(LastRun { own_name: Some(name), .. }), _) if Hostname::parse(name).is_ok() => name.clone(),
        (Some(LastRun { own_name: None, .. }), _) | (_, None) => FIRST_NAME.to_owned(),
        (_, Some(machine_id)) => {
            // The identity itself is nothing for strangers to see (see machine-id(5)).
            let digest = Sha256::digest(format!("ActionBooster host name {machine_id}"));
            format!("{FIRST_NAME}-{:02x}{:02x}", digest[0], digest[1])
        }
    };
    Ok(Hostname::parse(&name)?)
}

/// The machine's identity.
pub fn machine_id(layout: &Layout) -> Option<String> {
    let text = read_small(&layout.at("etc/machine-id")).ok().flatten()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned()).filter(|text| !text.is_empty())
}

/// The name that systemd-resolved answers for: another than the machine's where a device on the
/// network had that already. `None` where it does not say.
pub fn published_name() -> Option<Hostname> {
    let property = ["org.freedesktop.resolve1", "/org/freedesktop/resolve1"];
    let output = Command::new("busctl")
        .args(["--json=short", "--timeout=5", "get-property"])
        .args(property)
        .args(["org.freedesktop.resolve1.Manager", "LLMNRHostname"])
        .stdin(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    Hostname::parse(answer["data"].as_str()?).ok()
}

/// Why the data partition is not in use, if it is not.
pub fn data_damage(layout: &Layout) -> Option<String> {
    let text = read_small(&layout.run("data-damaged")).ok().flatten()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned())
}

/// Whether what the box keeps lies on an encrypted partition, as the device mapper names those.
pub fn data_is_encrypted(layout: &Layout) -> bool {
    let Ok(folder) = layout.state("").metadata() else { return false };
    let (major, minor) = (nix::sys::stat::major(folder.st_dev()), nix::sys::stat::minor(folder.st_dev()));
    let name = layout.at(&format!("sys/dev/block/{major}:{minor}/dm/uuid"));
    read_small(&name).ok().flatten().is_some_and(|name| name.starts_with(b"CRYPT-LUKS"))
}

/// Names of the groups in `/etc/group`.
pub fn groups(layout: &Layout) -> Vec<String> {
    let text = read_small(&layout.at("etc/group")).ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(|line| line.split(':').next()).map(str::to_owned).collect()
}

/// Addresses under which others on the network reach this machine, IPv4 first.
pub fn addresses() -> Vec<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut found: Vec<IpAddr> = all
        .filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|socket| IpAddr::from(socket.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|socket| IpAddr::from(socket.ip())))
        })
        .filter(|address| is_reachable(*address))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// IPv6 link-local addresses need an interface beside them, which no browser accepts.
fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_unspecified(),
        IpAddr::V6(address) => {
            !address.is_loopback() && !address.is_unspecified() && !address.is_unicast_link_local()
        }
    }
}

/// The wall's clock beside one that nobody sets.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    steady: Instant,
}

impl Clock {
    /// Looks at both.
    pub fn read() -> Self {
        Self { wall: now(), steady: Instant::now() }
    }

    /// The moment at which it was read.
    pub const fn now(&self) -> Timestamp {
        self.wall
    }

    /// Whether the clock was set in between.
    pub fn jumped_since(&self, before: &Self) -> bool {
        let steady = self.steady.duration_since(before.steady).as_secs();
        let wall = self.wall.as_second() - before.wall.as_second();
        wall.abs_diff(i64::try_from(steady).unwrap_or(i64::MAX)) > JUMP_S
    }
}

/// The moment of this run: a machine without a clock of its own starts in 1970.
pub fn now() -> Timestamp {
    Timestamp::now().max(Timestamp::from_second(actionbooster_clock::built_s()).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_addresses_that_others_can_type_are_shown() {
        let cases = [
            ("192.168.1.7", true),
            ("169.254.3.4", true),
            ("fd00::7", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("fe80::1", false),
        ];
        for (address, expected) in cases {
            assert_eq!(is_reachable(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let before = Clock::read();
        let later = |wall: i64, steady| Clock {
            wall: Timestamp::from_second(before.wall.as_second() + wall).unwrap(),
            steady: before.steady + Duration::from_secs(steady),
        };
        let cases =
            [(0, 0, false), (100, 100, false), (59, 0, false), (62, 0, true), (-62, 0, true), (0, 100, true)];
        for (wall, steady, jumped) in cases {
            assert_eq!(later(wall, steady).jumped_since(&before), jumped, "{wall} {steady}");
        }
    }

    #[test]
    fn the_clock_is_never_before_the_build() {
        assert!(now().as_second() >= actionbooster_clock::built_s());
    }

    #[test]
    fn a_box_is_called_after_its_identity_and_keeps_the_name_it_had() {
        let last = |own_name: Option<&str>| {
            let hardware = serde_json::json!({"board": "b", "processor": "p", "memory_bytes": 1, "accelerators": [], "disks": [], "interfaces": []});
            let text = serde_json::json!({"hardware": hardware, "own_name": own_name});
            serde_json::from_value::<LastRun>(text).unwrap()
        };
        let name = |last: Option<&LastRun>, id| own_name(last, id).unwrap().to_string();
        let (one, other) =
            (Some("0a1b2c3d0a1b4c3d8a1b2c3d0a1b2c3d"), Some("1a1b2c3d0a1b4c3d8a1b2c3d0a1b2c3d"));
        let first = name(None, one);
        assert!(first.starts_with("actionbooster-") && first.len() == 18, "{first}");
        assert_eq!(name(None, one), first);
        assert_ne!(name(None, other), first, "another machine");
        assert_eq!(name(Some(&last(Some(&first))), other), first, "another identity");
        assert_eq!(name(Some(&last(None)), one), "actionbooster", "after an update");
        assert_eq!(name(Some(&last(Some("actionbooster"))), one), "actionbooster", "ever after");
        assert_eq!(name(Some(&last(Some("a b"))), one), first, "a damaged note");
        assert_eq!(name(None, None), "actionbooster", "no identity yet");
    }
}
