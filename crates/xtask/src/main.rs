//! The build tool: everything about building, running and testing ActionBooster that is more than
//! ten lines of shell. `cargo xtask --help` lists the tasks.

use std::process::ExitCode;

use clap::Parser;

mod appliance;
mod bench;
mod builder;
mod detectors;
mod dev;
mod http;
mod image;
mod onnxruntime;
mod payload;
mod progress;
mod qemu;
mod run;
mod signals;
mod test;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, runs and tests ActionBooster")]
enum Task {
    /// Builds the image, boots it, asks a first question and prints the answer.
    Run(run::Arguments),
    /// Runs all tests, or the suites that are named.
    Test(test::Arguments),
    /// Runs the daemons and nginx on this host until interrupted.
    Dev(dev::Arguments),
    /// Builds the image only.
    Image(image::Arguments),
    /// Boots the image and keeps it running until interrupted.
    Vm(run::VmArguments),
    /// Measures side by side and compares with the goals of SPEC.md.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Run(arguments) => run::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Dev(arguments) => dev::run(&arguments),
        Task::Image(arguments) => image::run(&arguments),
        Task::Vm(arguments) => run::vm(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
    };
    // A check that fails is an outcome, and needs no backtrace.
    outcome.map_or_else(
        |error| {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}
