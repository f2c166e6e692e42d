//! The box's name: the kernel's, `/etc/hostname`, and a line in `/etc/hosts`. systemd-resolved
//! watches the kernel's name and answers for `<name>.local` by itself.

use anyhow::Result;

use super::{Context, current};
use crate::decide::Plan;
use crate::system::Access;

/// Debian's address for a machine's own name.
const OWN_ADDRESS: &str = "127.0.1.1";
const EMPTY_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

pub fn ensure(plan: &Plan, context: &Context) -> Result<()> {
    let name = plan.network.hostname.as_str();
    context.ensure(&context.layout.at("etc/hostname"), format!("{name}\n").as_bytes(), Access::PUBLIC)?;
    let hosts = context.layout.at("etc/hosts");
    let current = current(&hosts).and_then(|text| String::from_utf8(text).ok());
    let wanted = with_name(current.as_deref().unwrap_or(EMPTY_HOSTS), name);
    context.ensure(&hosts, wanted.as_bytes(), Access::PUBLIC)?;
    context.ensure_kernel("kernel/hostname", name)
}

/// The file with one line for the name; the owner's own lines stay.
fn with_name(hosts: &str, name: &str) -> String {
    let own = format!("{OWN_ADDRESS}\t{name}.local {name}");
    let mut found = false;
    let mut lines = Vec::new();
    for line in hosts.lines() {
        if line.split_whitespace().next() != Some(OWN_ADDRESS) {
            lines.push(line);
        } else if !found {
            found = true;
            lines.push(&own);
        }
    }
    if !found {
        lines.push(&own);
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owners_lines_stay_and_the_name_has_one() {
        let cases = [
            ("127.0.0.1 localhost\n", "127.0.0.1 localhost\n127.0.1.1\tbox.local box\n"),
            ("127.0.1.1 old\n10.0.0.9 nas\n127.0.1.1 older\n", "127.0.1.1\tbox.local box\n10.0.0.9 nas\n"),
            ("", "127.0.1.1\tbox.local box\n"),
        ];
        for (before, after) in cases {
            assert_eq!(with_name(before, "box"), after);
            assert_eq!(with_name(after, "box"), after);
        }
    }
}
