//! What is, beside the hardware: the owner's settings, addresses, groups, the clock.

use std::net::IpAddr;
use std::path::Path;
use std::time::Instant;

use actionbooster_hardware::{Inventory, survey};
use anyhow::{Context as _, Result};
use jiff::Timestamp;

use crate::layout::Layout;
use crate::machine::read_small;
use crate::settings::Settings;

/// When this program was built; no clock of an appliance is earlier.
const BUILT: &str = env!("BOOSTER_BUILD_EPOCH");
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

/// Reads the owner's settings, with what is wrong in them.
pub fn settings(layout: &Layout) -> (Settings, Vec<String>) {
    let path = layout.state("settings/settings.toml");
    match read_small(&path) {
        Ok(None) => (Settings::default(), Vec::new()),
        Ok(Some(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => Settings::parse(&text),
            Err(_) => (Settings::default(), vec!["settings.toml is not text, so defaults are used".into()]),
        },
        Err(error) => (
            Settings::default(),
            vec![format!("settings.toml cannot be read, so defaults are used: {error}")],
        ),
    }
}

/// Why the data partition is not in use, if it is not.
pub fn data_damage(layout: &Layout) -> Option<String> {
    let text = read_small(&layout.run("data-damaged")).ok().flatten()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned())
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
    let built = BUILT.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    Timestamp::now().max(built.unwrap_or(Timestamp::UNIX_EPOCH))
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
        assert!(now().as_second() >= BUILT.parse::<i64>().unwrap());
    }
}
