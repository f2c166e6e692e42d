//! `cargo xtask test`: every suite in order, from the cheapest to the one that boots the image.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::builder::Builder;
use crate::progress::human;

mod boot;
mod code;
mod disks;
mod encryption;
mod guide;
mod live;
mod portal;
mod storm;
mod units;

pub use live::environment as client_environment;

/// Arguments of `cargo xtask test`.
#[derive(Args)]
pub struct Arguments {
    /// Suites to run: code, portal, units, guide, live, boot, disks, encryption, storm. All but disks and encryption when none is named.
    suites: Vec<String>,
    /// Sections of `boot` to run, all when none is named.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often `storm` cuts the power during the first boot.
    #[arg(long, default_value_t = 2)]
    cuts: u32,
    /// How often `storm` cuts the power during a factory reset, and as often with a copy of the disk beside.
    /// Once when `storm` is named, never in a run of everything.
    #[arg(long)]
    reset_cuts: Option<u32>,
    /// Seed of the instants at which `storm` cuts the power.
    #[arg(long)]
    seed: Option<u64>,
}

/// Checks that passed and failed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Checks that held.
    pub passed: u32,
    /// Checks that did not.
    pub failed: u32,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl Tally {
    /// Prints one check and counts it.
    pub fn check(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                eprintln!("  ok    {name}");
                self.passed += 1;
            }
            Err(cause) => {
                eprintln!("  FAIL  {name}: {cause:#}");
                self.failed += 1;
            }
        }
    }

    /// Adds up the closing lines of the test tools we use.
    ///
    /// Understood are cargo's `test result: ok. 3 passed; 0 failed; …` and our own
    /// `3 passed, 0 failed`.
    pub fn read(log: &str) -> Self {
        let mut tally = Self::default();
        for line in log.lines() {
            let line = line.trim();
            let counts = match line.strip_prefix("test result: ") {
                Some(rest) => rest.split_once(". ").map(|(_, counts)| counts),
                None if line.contains(" passed, ") => Some(line),
                None => None,
            };
            let Some(counts) = counts else { continue };
            for part in counts.split([';', ',']) {
                match part.trim().split_once(' ') {
                    Some((count, "passed")) => tally.passed += count.parse().unwrap_or(0),
                    Some((count, "failed")) => tally.failed += count.parse().unwrap_or(0),
                    _ => {}
                }
            }
        }
        tally
    }
}

type Suite = (&'static str, fn(&Builder, &Arguments) -> Result<Tally>);

/// In the order they run: what is quick and most often wrong comes first.
const SUITES: &[Suite] = &[
    ("code", |builder, _| code::run(builder)),
    ("portal", |builder, _| portal::run(builder)),
    ("units", |builder, _| units::run(builder)),
    ("guide", |builder, _| guide::run(builder)),
    ("live", |builder, _| live::run(builder)),
    ("boot", |builder, arguments| boot::run(builder, &arguments.only)),
    ("disks", |builder, _| disks::run(builder)),
    ("encryption", |builder, _| encryption::run(builder)),
    ("storm", |builder, arguments| {
        let named = !arguments.suites.is_empty();
        let reset = arguments.reset_cuts.unwrap_or(u32::from(named));
        let cuts = storm::Cuts { first_boot: arguments.cuts, reset };
        storm::run(builder, cuts, arguments.seed)
    }),
];

/// Boot for many minutes; they must be asked for by name.
const LONG: &[&str] = &["disks", "encryption"];

impl Arguments {
    fn wants(&self, suite: &str) -> bool {
        if self.suites.is_empty() {
            !LONG.contains(&suite)
        } else {
            self.suites.iter().any(|name| name == suite)
        }
    }
}

/// Runs the suites and prints the closing line `N passed, N failed`.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(unknown) = arguments.suites.iter().find(|name| !SUITES.iter().any(|(suite, _)| suite == name))
    {
        let names: Vec<_> = SUITES.iter().map(|(name, _)| *name).collect();
        bail!("there is no suite {unknown}; there are {}", names.join(", "));
    }
    let builder = Builder::ready()?;
    let mut total = Tally::default();
    for (name, suite) in SUITES {
        if !arguments.wants(name) {
            continue;
        }
        eprintln!("\n== {name}");
        let started = Instant::now();
        let mut tally = suite(&builder, arguments).unwrap_or_else(|cause| {
            eprintln!("  FAIL  {cause:#}");
            Tally { passed: 0, failed: 1 }
        });
        if tally.passed + tally.failed == 0 {
            eprintln!("  FAIL  the suite ran no check");
            tally.failed = 1;
        }
        eprintln!(
            "== {name}: {} passed, {} failed, {}",
            tally.passed,
            tally.failed,
            human(started.elapsed())
        );
        total += tally;
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        bail!(
            "{} of {} checks failed; logs are in {}",
            total.failed,
            total.passed + total.failed,
            builder.cache().join("logs").display()
        );
    }
    Ok(())
}

/// Runs a tool inside the builder whose log ends with counts, and returns them.
///
/// A tool that fails without counting a failure counts as one.
pub fn counted<S: AsRef<str>>(builder: &Builder, label: &str, log: &str, argv: &[S]) -> Result<Tally> {
    let outcome = builder.run(label, log, argv);
    let mut tally = read_log(&builder.log(log))?;
    if outcome.is_err() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

fn read_log(path: &Path) -> Result<Tally> {
    let bytes = fs::read(path).with_context(|| format!("cannot read the log {}", path.display()))?;
    Ok(Tally::read(&String::from_utf8_lossy(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn closing_lines_of_both_kinds_are_added_up() {
        let log = "test result: ok. 3 passed; 0 failed; 0 ignored\nnoise\n\
                   test result: FAILED. 1 passed; 2 failed; 0 ignored\n4 passed, 1 failed, 1 skipped\n";
        let tally = Tally::read(log);
        assert_eq!((tally.passed, tally.failed), (8, 3));
    }
}
