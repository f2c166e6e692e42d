//! `boosterctl`: everything the portal can do, from a shell, and the program of the box's console.

use std::process::ExitCode;

use boosterctl::{Arguments, exit_code, run};
use clap::Parser;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("boosterctl: {error:#}");
            exit_code(&error)
        }
    }
}
