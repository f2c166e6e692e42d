//! `boosterctl config check`: every daemon checks its own configuration.

use std::process::Command;

use crate::Failure;

const DAEMONS: [&str; 2] = ["booster-agent", "booster-monitor"];

/// Runs every daemon's check and prints what it says.
pub(crate) fn check() -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for daemon in DAEMONS {
        let beside = std::env::current_exe().map_or_else(|_| daemon.into(), |own| own.with_file_name(daemon));
        match Command::new(&beside).arg("--config-check").status() {
            Ok(status) if status.success() => {}
            Ok(_) => wrong.push(daemon),
            Err(error) => return Err(Failure::Failed(format!("cannot run {}: {error}", beside.display()))),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Failed(format!("mistakes in: {}", wrong.join(", ")))) }
}
