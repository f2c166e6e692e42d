//! Memory limits of the daemons, and what those get that compute: processors, accelerators, memory.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use super::{Action, Context};
use crate::decide::Plan;
use crate::system::Access;

const HEADER: &str =
    "# Written by booster-provisioner from the hardware; changes here are lost.\n[Service]\n";

pub fn ensure(plan: &Plan, context: &Context) -> Result<()> {
    let mut files: Vec<(PathBuf, String)> = plan
        .memory
        .daemon_limits
        .iter()
        .map(|(name, bytes)| {
            let devices = if name == "worker" { worker_devices(plan) } else { String::new() };
            (drop_in(context, &format!("booster-{name}.service")), limit(*bytes) + &devices)
        })
        .collect();
    files.push((drop_in(context, "booster-runner@.service"), runner(plan)));
    context.ensure_all(&files, Access::PUBLIC, &[Action::ReloadUnits])
}

fn drop_in(context: &Context, unit: &str) -> PathBuf {
    context.layout.at(&format!("etc/systemd/system/{unit}.d/50-provisioned.conf"))
}

/// Slowed down before it is killed.
fn limit(bytes: u64) -> String {
    format!("{HEADER}MemoryHigh={}\nMemoryMax={bytes}\n", bytes / 10 * 9)
}

fn runner(plan: &Plan) -> String {
    let mut text = format!("{HEADER}MemoryMax={}\n", plan.memory.model_budget_bytes);
    if plan.runner.pinned {
        // Writing to a string cannot fail.
        _ = writeln!(text, "AllowedCPUs={}", plan.runner.cpus);
    }
    text + &devices(plan, "runner")
}

/// The accelerators of a program, and the groups that open them.
fn devices(plan: &Plan, program: &str) -> String {
    let mut text = String::new();
    let mut groups: Vec<&str> = Vec::new();
    for grant in plan.accelerators.iter().filter(|grant| grant.given_to.iter().any(|to| to == program)) {
        // Writing to a string cannot fail.
        _ = writeln!(text, "DeviceAllow={} rw", grant.device);
        groups.extend(grant.groups.iter().map(String::as_str));
    }
    groups.sort_unstable();
    groups.dedup();
    if !groups.is_empty() {
        _ = writeln!(text, "SupplementaryGroups={}", groups.join(" "));
    }
    text
}

/// Where there is no accelerator, the worker sees no device at all, and no memory may be made into code; drivers of
/// accelerators make some.
fn worker_devices(plan: &Plan) -> String {
    match devices(plan, "worker") {
        none if none.is_empty() => none,
        devices => format!("PrivateDevices=no\nMemoryDenyWriteExecute=no\n{devices}"),
    }
}
