//! Detects things in pictures for programs that send them over TCP or HTTP.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = booster_worker::detector_process() {
        return code;
    }
    actionbooster_chassis::daemon("worker", env!("CARGO_PKG_VERSION"), booster_worker::start)
}
