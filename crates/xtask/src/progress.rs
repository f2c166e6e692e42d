//! What the person at the terminal sees: one line a step, with its time, and a log for the rest.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a long step without a terminal says that it is still alive.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Lines of a failed step's log that are shown.
const TAIL_LINES: usize = 40;

/// Runs `work` as a named step and prints how long it took.
pub fn step<T>(label: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("▸ {label}");
    let started = Instant::now();
    let outcome = work();
    match &outcome {
        Ok(_) => eprintln!("✓ {label} ({})", human(started.elapsed())),
        Err(_) => eprintln!("✗ {label} ({})", human(started.elapsed())),
    }
    outcome
}

/// Runs a command whose output goes to `log`; its last line is shown while it runs.
///
/// A failure shows the end of the log and where the rest is.
pub fn logged(label: &str, mut command: Command, log: &Path) -> Result<()> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut file = File::create(log).with_context(|| format!("cannot create the log {}", log.display()))?;
    step(label, || {
        let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        // The command object keeps the writing ends open; without this the reader never ends.
        drop(command);
        follow(BufReader::new(reader), &mut file)?;
        let status = child.wait()?;
        if !status.success() {
            eprintln!("{}", tail(log));
            bail!("{label} failed ({status}); the whole log is {}", log.display());
        }
        Ok(())
    })
}

fn follow(mut reader: impl BufRead, log: &mut File) -> Result<()> {
    let terminal = std::io::stderr().is_terminal();
    let started = Instant::now();
    let mut last_shown = Instant::now();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        log.write_all(&bytes)?;
        let interval = if terminal { Duration::from_millis(200) } else { HEARTBEAT };
        if last_shown.elapsed() >= interval {
            last_shown = Instant::now();
            let line: String = String::from_utf8_lossy(&bytes).trim().chars().take(96).collect();
            if terminal {
                eprint!("\r\x1b[K  {line}");
            } else {
                eprintln!("  … {} {line}", human(started.elapsed()));
            }
        }
    }
    if terminal {
        eprint!("\r\x1b[K");
    }
    Ok(())
}

/// The last lines of a log file.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// A duration as a person writes it.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}
