//! The time zone, and which time servers are asked: those that DHCP names, else the router, and in
//! online mode those of the internet.

use std::path::Path;

use actionbooster_settings::{TimeZone, TimeZoneError};
use anyhow::{Context as _, Result, bail};

use super::{Action, Context};
use crate::decide::Plan;
use crate::system::Access;

const DATABASE: &str = "usr/share/zoneinfo";
/// In place of the image's, which asks the router alone.
const ONLINE: &str = "# Written by booster-provisioner: online mode is on.\n\
    [Time]\n\
    FallbackNTP=_gateway 0.debian.pool.ntp.org 1.debian.pool.ntp.org 2.debian.pool.ntp.org 3.debian.pool.ntp.org\n";

pub fn ensure(plan: &Plan, context: &Context) -> Result<()> {
    let servers = context.layout.at("etc/systemd/timesyncd.conf.d/50-provisioned.conf");
    if plan.network.online {
        context.ensure_all(&[(servers, ONLINE.to_owned())], Access::PUBLIC, &[Action::RestartTimesync])?;
    } else if servers.symlink_metadata().is_ok() {
        context.add_pending(&[Action::RestartTimesync])?;
        context.ensure_absent(&servers)?;
    }
    if context.pending.contains(Action::RestartTimesync) {
        // Not waited for: this program runs inside the start-up that this job may be queued behind.
        context.run(&["systemctl", "try-restart", "--no-block", "systemd-timesyncd.service"])?;
        context.complete(Action::RestartTimesync)?;
    }
    zone(&plan.time_zone, context)
}

fn zone(name: &str, context: &Context) -> Result<()> {
    let database = context.layout.at(DATABASE);
    let zone = TimeZone::parse(name)?;
    if database.is_dir() && !zone.is_known(&database) {
        bail!("{name}: {}", TimeZoneError::Unknown);
    }
    let target = Path::new("..").join(DATABASE).join(name);
    context.ensure_link(&context.layout.at("etc/localtime"), &target).context("cannot set the time zone")
}
