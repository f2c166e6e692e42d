//! `cargo xtask bench`: measurements side by side in one run, against the goals of SPEC.md.
//!
//! Where there is another side, both are measured in pairs, one right after the other, until it is clear whether the
//! goal holds (`paired.rs`). What the machine does not let one see is told as inconclusive, and is no failure.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::builder::Builder;
use paired::{Estimate, Goal, Pairs, Verdict};

mod boot;
mod detection;
mod driver;
mod llm;
mod load;
mod memory;
mod mixed;
mod paired;
mod size;

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub struct Arguments {
    /// Benches to run: boot, detection, llm, memory, mixed, size. All when none is named.
    names: Vec<String>,
    /// Also write the rows there, as a JSON array.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Leave out what needs files that are not at hand, instead of failing.
    #[arg(long)]
    skip_missing: bool,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Ours, or the median of the ratios of ours to the peer's.
    pub value: f64,
    /// Unit of `value`, `peer` and `goal`; ratios and counts have none.
    pub unit: &'static str,
    /// The other side, measured in the same run.
    pub peer: Option<f64>,
    /// Where the value lies with a certainty of 95 %.
    pub interval: Option<(f64, f64)>,
    /// The goal of SPEC.md.
    pub goal: Option<f64>,
    /// Absent where there is no goal.
    pub verdict: Option<Verdict>,
}

impl Row {
    /// A value that was measured once.
    pub fn single(name: &str, value: f64, unit: &'static str, goal: Goal) -> Self {
        let (number, verdict) = (goal.number(), goal.verdict(value, value));
        Self { goal: Some(number), verdict: Some(verdict), ..Self::plain(name, value, unit, None) }
    }

    /// A value without a goal.
    pub fn plain(name: &str, value: f64, unit: &'static str, peer: Option<f64>) -> Self {
        Self { name: name.into(), value, unit, peer, interval: None, goal: None, verdict: None }
    }

    /// The median of several measurements.
    pub fn estimate(name: &str, estimate: Estimate, unit: &'static str, goal: Option<Goal>) -> Self {
        Self {
            interval: Some((estimate.low, estimate.high)),
            goal: goal.map(Goal::number),
            verdict: goal.map(|goal| goal.verdict(estimate.low, estimate.high)),
            ..Self::plain(name, estimate.median, unit, None)
        }
    }

    /// Both sides, and the ratio of ours to the peer's.
    pub fn compared(name: &str, unit: &'static str, pairs: &Pairs, goal: Option<Goal>) -> [Self; 2] {
        let (ours, peer) = pairs.sides();
        [Self::plain(name, ours, unit, Some(peer)), Self::estimate("… ratio", pairs.ratio(), "", goal)]
    }
}

/// What a bench gets.
pub struct Bench<'a> {
    builder: &'a Builder,
    skip_missing: bool,
}

type Run = fn(&Bench<'_>) -> Result<Vec<Row>>;

const BENCHES: &[(&str, Run)] = &[
    ("size", size::run),
    ("memory", memory::run),
    ("boot", boot::run),
    ("llm", llm::run),
    ("mixed", mixed::run),
    ("detection", detection::run),
];

/// Runs the benches and prints a table; fails when a goal is missed.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(unknown) = arguments.names.iter().find(|name| !BENCHES.iter().any(|(bench, _)| bench == name))
    {
        let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        bail!("there is no bench {unknown}; there are {}", names.join(", "));
    }
    let builder = Builder::ready()?;
    let bench = Bench { builder: &builder, skip_missing: arguments.skip_missing };
    let mut rows = Vec::new();
    for (name, run) in BENCHES {
        if arguments.names.is_empty() || arguments.names.iter().any(|wanted| wanted == name) {
            rows.extend(run(&bench)?);
        }
    }
    print(&rows);
    if let Some(path) = &arguments.json {
        fs::write(path, serde_json::to_vec_pretty(&rows)?)?;
    }
    let count = |verdict| rows.iter().filter(|row| row.verdict == Some(verdict)).count();
    let (missed, inconclusive) = (count(Verdict::Missed), count(Verdict::Inconclusive));
    if inconclusive > 0 {
        println!(
            "{inconclusive} inconclusive: on this machine they lie too near to their goals, or too much else ran"
        );
    }
    if missed > 0 {
        bail!("{missed} of {} goals were missed", rows.iter().filter(|row| row.verdict.is_some()).count());
    }
    Ok(())
}

fn print(rows: &[Row]) {
    println!(
        "{:<52} {:>9} {:>9} {:>15} {:>7}  {:<6} verdict",
        "name", "value", "peer", "95 % within", "goal", "unit"
    );
    for row in rows {
        let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
        let interval =
            row.interval.map_or_else(|| "-".into(), |(low, high)| format!("{low:.2} to {high:.2}"));
        let verdict = match row.verdict {
            None => "",
            Some(Verdict::Holds) => "holds",
            Some(Verdict::Missed) => "MISSED",
            Some(Verdict::Inconclusive) => "inconclusive",
        };
        println!(
            "{:<52} {:>9.2} {:>9} {interval:>15} {:>7}  {:<6} {verdict}",
            row.name,
            row.value,
            number(row.peer),
            number(row.goal),
            row.unit
        );
    }
}
