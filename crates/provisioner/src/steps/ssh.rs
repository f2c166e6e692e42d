//! SSH: on while the owner has given a key, off otherwise.

use anyhow::Result;

use super::Context;
use crate::decide::Plan;
use crate::system::Access;

/// What `systemctl enable` makes.
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/ssh.service";

pub fn ensure(plan: &Plan, context: &Context) -> Result<()> {
    let path = context.layout.state("ssh/authorized_keys");
    let keys = &plan.ssh_keys;
    if keys.is_empty() {
        context.ensure_absent(&path)?;
    } else {
        let lines: String = keys.iter().map(|key| format!("{key}\n")).collect();
        // Read by the server as the user who logs in.
        context.ensure(&path, lines.as_bytes(), Access::PUBLIC)?;
    }
    let enabled = context.layout.at(ENABLED).symlink_metadata().is_ok();
    let wanted = !keys.is_empty();
    if context.system.is_running() && enabled != wanted {
        let verb = if wanted { "enable" } else { "disable" };
        // Not waited for: the server starts after this program.
        context.run(&["systemctl", verb, "--now", "--no-block", "ssh.service"])?;
    }
    Ok(())
}
