//! Everything the portal can do, from a shell on the box.

use std::process::ExitCode;

use boosterctl::{Arguments, run};
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("boosterctl: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
