//! What is, beside the hardware: the owner's settings, addresses, groups, the clock.

use std::net::IpAddr;
use std::path::Path;

use actionbooster_hardware::{Inventory, survey};
use anyhow::{Context as _, Result};
use jiff::Timestamp;

use crate::layout::Layout;
use crate::machine::read_small;
use crate::settings::Settings;

/// When this program was built; no clock of an appliance is earlier.
const BUILT: &str = env!("BOOSTER_BUILD_EPOCH");

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

/// The moment of this run: a machine without a clock of its own starts in 1970.
pub fn now() -> Timestamp {
    let built = BUILT.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    Timestamp::now().max(built.unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
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
    fn the_clock_is_never_before_the_build() {
        assert!(now().as_second() >= BUILT.parse::<i64>().unwrap());
    }
}
