//! Network interfaces.

use crate::inventory::{Interface, InterfaceKind};
use crate::tree::Tree;

/// `ARPHRD_ETHER` of the kernel's `if_arp.h`.
const ETHERNET: &str = "1";
/// The kernel's answer for an unknown speed is -1, which some drivers write as a large number.
const FASTEST_MBPS: u32 = 1_600_000;

/// Reads every interface that has a device behind it: loopback, bridges and tunnels have none.
pub fn read(tree: &Tree) -> Vec<Interface> {
    let folder = "sys/class/net";
    let names = tree.list(folder);
    let physical = names.into_iter().filter(|name| tree.exists(&format!("{folder}/{name}/device")));
    physical.map(|name| interface(tree, &format!("{folder}/{name}"), &name)).collect()
}

fn interface(tree: &Tree, folder: &str, name: &str) -> Interface {
    let wireless = ["wireless", "phy80211"].iter().any(|part| tree.exists(&format!("{folder}/{part}")));
    let kind = if wireless {
        InterfaceKind::Wifi
    } else if tree.text(&format!("{folder}/type")).as_deref() == Some(ETHERNET) {
        InterfaceKind::Ethernet
    } else {
        InterfaceKind::Other
    };
    let up = tree.text_if_told(&format!("{folder}/carrier")).as_deref() == Some("1");
    let speed = tree.text_if_told(&format!("{folder}/speed")).filter(|_| up);
    let speed = speed.and_then(|speed| speed.parse().ok());
    Interface {
        name: name.to_owned(),
        kind,
        mac: tree.text(&format!("{folder}/address")).and_then(|mac| mac_address(&mac)),
        speed_mbps: speed.filter(|mbps| (1..=FASTEST_MBPS).contains(mbps)),
    }
}

fn mac_address(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let parts: Vec<&str> = text.split(':').collect();
    let is_byte = |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
    let known = parts.iter().any(|part| *part != "00");
    (parts.len() == 6 && parts.iter().all(is_byte) && known).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::mac_address;

    #[test]
    fn only_addresses_that_are_some_are_kept() {
        let cases = [
            ("52:54:00:12:34:56", Some("52:54:00:12:34:56")),
            ("C0:74:2B:FF:00:01", Some("c0:74:2b:ff:00:01")),
            ("00:00:00:00:00:00", None),
            ("52:54:00:12:34", None),
            ("52:54:00:12:34:5g", None),
            ("80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:11:22:33", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(mac_address(text).as_deref(), expected, "{text}");
        }
    }
}
