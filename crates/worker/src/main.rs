//! Detects things in pictures for programs that send them over TCP or HTTP.

use std::process::ExitCode;

fn main() -> ExitCode {
    actionbooster_chassis::daemon("worker", env!("CARGO_PKG_VERSION"), booster_worker::start)
}
