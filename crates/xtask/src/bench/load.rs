//! What else the machine does while something is measured on it.

use std::collections::HashMap;
use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// Share of all processors that others may take before a measurement counts as disturbed.
const TOLERATED: f64 = 0.05;

/// Watches from its beginning on.
pub struct Watch {
    begun: Instant,
    machine: u64,
    own: u64,
}

/// Share of all processors' time that went to programs that are not ours, and to other machines on the same host.
#[derive(Debug, Clone, Copy)]
pub struct Others(f64);

impl Others {
    pub fn disturb(self) -> bool {
        self.0 > TOLERATED
    }
}

impl Watch {
    pub fn begin() -> Result<Self> {
        Ok(Self { begun: Instant::now(), machine: machine()?, own: own()? })
    }

    pub fn others(self) -> Result<Others> {
        let ticks = sysconf(SysconfVar::CLK_TCK)?.context("the clock has no ticks")? as f64;
        let processors = std::thread::available_parallelism()?.get() as f64;
        let whole = self.begun.elapsed().as_secs_f64() * ticks * processors;
        // What ours did is told when it ends at the latest, so the difference may dip below zero by a tick or two.
        let machine = machine()?.saturating_sub(self.machine);
        let others = machine.saturating_sub(own()?.saturating_sub(self.own));
        Ok(Others(if whole > 0.0 { others as f64 / whole } else { 0.0 }))
    }
}

/// Ticks in which a processor was busy or taken away, from `/proc/stat` (proc(5): user, nice, system, idle, iowait,
/// irq, softirq, steal).
fn machine() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    Ok([0, 1, 2, 5, 6, 7].iter().filter_map(|index| fields.get(*index)).sum())
}

/// Ticks of this process and of all that it started, ended ones included.
fn own() -> Result<u64> {
    let mut children: HashMap<u32, Vec<(u32, u64)>> = HashMap::new();
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has just ended is counted by its parent.
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((parent, ticks)) = parse(&text) else { continue };
        children.entry(parent).or_default().push((pid, ticks));
    }
    let own = std::process::id();
    let (_, mut sum) =
        parse(&fs::read_to_string("/proc/self/stat")?).context("no times in /proc/self/stat")?;
    let mut left = vec![own];
    while let Some(pid) = left.pop() {
        for (child, ticks) in children.remove(&pid).unwrap_or_default() {
            sum += ticks;
            left.push(child);
        }
    }
    Ok(sum)
}

/// Parent and ticks (utime, stime, cutime, cstime) of a line of `/proc/PID/stat`.
fn parse(line: &str) -> Option<(u32, u64)> {
    // The name is in brackets and may hold anything.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_whatever_a_program_calls_itself() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 100 0 0 0 10 20 3 4 20 0 1 0 5 0 0";
        assert_eq!(parse(line), Some((3, 37)));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn what_this_program_does_is_its_own() {
        let before = own().expect("own");
        let begun = Instant::now();
        while begun.elapsed().as_millis() < 100 {
            std::hint::black_box(begun.elapsed());
        }
        assert!(own().expect("own") >= before + 5);
    }
}
