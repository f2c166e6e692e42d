//! PID 1 from the kernel's start until systemd takes over. See the library for the steps.

use std::process::ExitCode;

use booster_initrd::{boot, console};

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("booster-initrd is started by the kernel, as the first process");
        return ExitCode::from(64);
    }
    // `run` only comes back when there is no system to hand over to.
    let Err(error) = boot::run();
    console::fatal(&error);
    ExitCode::FAILURE
}
