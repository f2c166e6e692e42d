//! Tells systemd what the steps before changed, once for all of them.

use anyhow::Result;

use super::{Context, Debt};
use crate::decide::Plan;

pub fn ensure(_: &Plan, context: &Context) -> Result<()> {
    if context.debts.owes(Debt::ReloadUnits) {
        context.run(&["systemctl", "daemon-reload"])?;
        context.paid(Debt::ReloadUnits)?;
    }
    if context.debts.owes(Debt::RestartZram) {
        // Never "restart": it ends a setup that is under way, which leaves a half made device.
        context.run(&["systemctl", "stop", "dev-zram0.swap", "systemd-zram-setup@zram0.service"])?;
        // Not waited for: this program runs inside the start-up that this job is queued behind.
        context.run(&["systemctl", "start", "--no-block", "dev-zram0.swap"])?;
        context.paid(Debt::RestartZram)?;
    }
    Ok(())
}
