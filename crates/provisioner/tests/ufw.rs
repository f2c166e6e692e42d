//! The rendered files, loaded by the real UFW into a network of their own.
//!
//! Needs root, UFW and namespaces, as the builder root has them; says so and stops where not.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use booster_provisioner::layout::Layout;
use booster_provisioner::{World, apply_in};
use jiff::Timestamp;
use support::failing::Failing;
use support::{machines, rules, write};
use tempfile::TempDir;

/// Puts the files in UFW's place, starts it, and asks it and the kernel.
const SCRIPT: &str = r#"
set -e
root=$1
cp -a /etc/ufw/. "$root/shipped"
cp -a "$root/etc/ufw/." "$root/shipped/"
mount --bind "$root/shipped" /etc/ufw
mount --bind "$root/etc/default/ufw" /etc/default/ufw
mount -t tmpfs run /run
ip link set lo up
ip link add lan type veth peer name far
ip link set far up
ip address add 192.0.2.2/24 dev lan
ip link set lan up
ip route add default via 192.0.2.1
/usr/lib/ufw/ufw-init start
iptables-restore --test --noflush "$root/etc/ufw/user.rules"
ip6tables-restore --test --noflush "$root/etc/ufw/user6.rules"
ufw status verbose
iptables -S OUTPUT | head -1
ip6tables -S INPUT | head -1
# A refusal comes at once; a connection let through waits for an answer that never comes.
reach() { timeout 0.8 bash -c "exec 3<>/dev/tcp/$1/443" 2>&1 | grep -q refused && echo "$1 refused" || echo "$1 let through"; }
reach 203.0.113.9
reach 10.1.2.3
[ -n "$2" ] || exit 0
# What the provisioner runs when the owner changes a setting.
iptables-restore --noflush "$2/etc/ufw/user.rules"
ip6tables-restore --noflush "$2/etc/ufw/user6.rules"
echo changed
reach 203.0.113.9
ufw status | head -1
"#;

fn usable() -> bool {
    let ready = nix::unistd::geteuid().is_root()
        && Path::new("/usr/lib/ufw/ufw-init").exists()
        && Command::new("unshare")
            .args(["-mn", "iptables", "-L", "-n"])
            .output()
            .is_ok_and(|it| it.status.success());
    if !ready {
        eprintln!("skipped: this needs root, UFW and network namespaces");
    }
    ready
}

/// A tree with the files for these settings.
fn rendered(settings: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "var/lib/actionbooster/settings/settings.toml", settings);
    fs::create_dir(root.path().join("shipped")).unwrap();
    let (layout, system) = (Layout::new(root.path()), Failing::new(root.path()));
    let world = World {
        layout: &layout,
        system: &system,
        inventory: &machines::qemu_vm(),
        data: &rules(),
        now: Timestamp::UNIX_EPOCH,
        addresses: vec![],
    };
    apply_in(&world).unwrap();
    root
}

/// What UFW says and does with these settings, and after a change to others.
fn load(settings: &str, then: Option<&str>) -> String {
    let (root, then) = (rendered(settings), then.map(rendered));
    let Output { status, stdout, stderr } = Command::new("unshare")
        .args(["-mn", "bash", "-c", SCRIPT, "bash"])
        .arg(root.path())
        .arg(then.as_ref().map_or(Path::new(""), TempDir::path))
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{out}{error}");
    out.into_owned()
}

/// The lines of `ufw status`, without the columns' spaces.
fn lines(output: &str) -> Vec<String> {
    output.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_closed_box_lets_in_the_portal_and_reaches_only_the_lan() {
    if !usable() {
        return;
    }
    let output = load("", None);
    let lines = lines(&output);
    for expected in [
        "Status: active",
        "Default: deny (incoming), reject (outgoing), disabled (routed)",
        "80/tcp ALLOW IN Anywhere # Way to trust the box",
        "443/tcp ALLOW IN Anywhere # Portal and API",
        "443/tcp (v6) ALLOW IN Anywhere (v6) # Portal and API",
        "5353/udp ALLOW IN Anywhere # mDNS",
        "192.168.0.0/16 ALLOW OUT Anywhere # LAN",
        "fe80::/10 ALLOW OUT Anywhere (v6) # LAN without DHCP",
        "Anywhere/tcp REJECT OUT Anywhere/tcp # Online mode is off",
        "-P OUTPUT DROP",
        "-P INPUT DROP",
        "203.0.113.9 refused",
        "10.1.2.3 let through",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected} is not in\n{output}");
    }
    assert!(!output.contains("22/tcp"), "SSH is closed without a key:\n{output}");
    assert!(!output.contains("# Online mode\n"), "{output}");
}

#[test]
fn online_mode_and_a_key_open_the_way_out_and_ssh() {
    if !usable() {
        return;
    }
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1dXkTn7b6cGvVnq3cQmN0s5m8bB5v1k2l3m4n5o6p7";
    let output = load(&format!("online = true\nssh_keys = [\"{key}\"]\n"), None);
    let lines = lines(&output);
    for expected in [
        "22/tcp ALLOW IN Anywhere # SSH",
        "Anywhere ALLOW OUT Anywhere # Online mode",
        "Anywhere (v6) ALLOW OUT Anywhere (v6) # Online mode",
        "203.0.113.9 let through",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected} is not in\n{output}");
    }
}

#[test]
fn online_mode_is_switched_while_the_firewall_runs() {
    if !usable() {
        return;
    }
    for (before, after, first, last) in
        [("", "online = true", "refused", "let through"), ("online = true", "", "let through", "refused")]
    {
        let output = load(before, Some(after));
        let expected = format!(
            "203.0.113.9 {first}\n10.1.2.3 let through\nchanged\n203.0.113.9 {last}\nStatus: active\n"
        );
        assert!(output.ends_with(&expected), "{output}");
    }
}
