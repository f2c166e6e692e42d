//! One process that holds one language model. It gives the memory back by ending.

use std::process::ExitCode;

use booster_runner::{Command, complete, serve};
use clap::Parser;

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Complete(arguments) => complete::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("booster-runner: {error:#}");
            ExitCode::FAILURE
        }
    }
}
