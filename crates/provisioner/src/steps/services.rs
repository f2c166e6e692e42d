//! Tells systemd what the steps before changed, once for all of them.

use anyhow::Result;

use super::{Action, Context};
use crate::decide::Plan;

pub fn ensure(_: &Plan, context: &Context) -> Result<()> {
    if context.pending.contains(Action::ReloadUnits) {
        context.run(&["systemctl", "daemon-reload"])?;
        context.complete(Action::ReloadUnits)?;
    }
    if context.pending.contains(Action::RestartZram) {
        // Never "restart": it ends a setup that is under way, which leaves a half made device.
        context.run(&["systemctl", "stop", "dev-zram0.swap", "systemd-zram-setup@zram0.service"])?;
        // Not waited for: this program runs inside the start-up that this job is queued behind.
        context.run(&["systemctl", "start", "--no-block", "dev-zram0.swap"])?;
        context.complete(Action::RestartZram)?;
    }
    Ok(())
}
