//! Several local models, one budget: `/query`, the OpenAI API, and which runner lives.

use std::process::ExitCode;

fn main() -> ExitCode {
    actionbooster_chassis::daemon("agent", env!("CARGO_PKG_VERSION"), booster_agent::start)
}
