//! What the person at the machine sees while there is no journal yet.
//!
//! Everything goes to the kernel log, so it reaches every console and later the journal.

use std::fs::OpenOptions;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};

/// How long a fatal message stays before the machine restarts.
const FATAL_PAUSE: Duration = Duration::from_secs(15);

/// Kernel log levels; with `quiet` the consoles show up to [`Level::Error`].
#[derive(Clone, Copy)]
enum Level {
    Critical = 2,
    Error = 3,
    Info = 6,
}

/// Something that is only interesting afterwards.
pub fn note(message: &str) {
    write(Level::Info, message);
}

/// Something the person at the machine should see.
pub fn tell(message: &str) {
    write(Level::Error, message);
}

/// Says why the boot ends, leaves time to read it and restarts, so that GRUB counts the try.
pub fn fatal(error: &dyn std::error::Error) {
    write(Level::Critical, &format!("this system cannot start: {error}"));
    write(Level::Critical, &format!("the machine restarts in {} s", FATAL_PAUSE.as_secs()));
    sleep(FATAL_PAUSE);
    // Coming back means it was refused; the exit of PID 1 then makes the kernel panic and restart.
    let _refused = reboot(RebootMode::RB_AUTOBOOT);
}

fn write(level: Level, message: &str) {
    // With no log to write to there is nowhere to complain either.
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _unheard = log.write_all(format!("<{}>booster-initrd: {message}\n", level as u8).as_bytes());
    }
}
