//! `booster-provisioner`: fits this system to its hardware and to its owner's settings.

use std::path::PathBuf;
use std::process::ExitCode;

use booster_provisioner::{announce, apply, plan, tend_clock};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "Fits this system to its hardware and to its owner's settings")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The tree to provision; only `/` has its services and kernel settings changed.
    #[arg(long, global = true, env = "ACTIONBOOSTER_ROOT", default_value = "/")]
    root: PathBuf,
    /// Print the plan or the report as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Print what would be done and why; change nothing.
    Plan,
    /// Do it; what is already right is left alone.
    Apply,
    /// Fit the certificate to the addresses of now and show the way to the portal on every console.
    Announce,
    /// Set the clock as the owner asked, and keep the last known time.
    Clock,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Plan => plan(&arguments.root, arguments.json),
        Command::Apply => apply(&arguments.root, arguments.json),
        Command::Announce => announce(&arguments.root, arguments.json),
        Command::Clock => tend_clock(&arguments.root),
    };
    match outcome {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("booster-provisioner: {error:#}");
            ExitCode::FAILURE
        }
    }
}
