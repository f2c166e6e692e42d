//! Owner accounts and keys, settings, reports and health of the box.

use std::process::ExitCode;

fn main() -> ExitCode {
    actionbooster_chassis::daemon("monitor", env!("CARGO_PKG_VERSION"), booster_monitor::start)
}
