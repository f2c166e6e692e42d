//! `cargo xtask bench`: measurements side by side in one run, against the goals of SPEC.md.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::builder::Builder;

mod boot;
mod detection;
mod llm;
mod memory;
mod mixed;
mod size;

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub struct Arguments {
    /// Benches to run: boot, detection, llm, memory, mixed, size. All when none is named.
    names: Vec<String>,
    /// Also write the rows there, as a JSON array.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Ours.
    pub value: f64,
    /// Unit of `value`, `peer` and `goal`; `ratio` has none.
    pub unit: &'static str,
    /// The other side, measured in the same run.
    pub peer: Option<f64>,
    /// The goal of SPEC.md.
    pub goal: Option<f64>,
    /// Whether the goal is met.
    pub ok: bool,
}

impl Row {
    /// A value that should be at most `goal`.
    pub fn at_most(name: &str, value: f64, unit: &'static str, peer: Option<f64>, goal: f64) -> Self {
        Self { name: name.into(), value, unit, peer, goal: Some(goal), ok: value <= goal }
    }

    /// A value that should be at least `goal`.
    pub fn at_least(name: &str, value: f64, unit: &'static str, peer: Option<f64>, goal: f64) -> Self {
        Self { name: name.into(), value, unit, peer, goal: Some(goal), ok: value >= goal }
    }

    /// A value without a goal.
    pub fn plain(name: &str, value: f64, unit: &'static str, peer: Option<f64>) -> Self {
        Self { name: name.into(), value, unit, peer, goal: None, ok: true }
    }
}

type Bench = (&'static str, fn(&Builder) -> Result<Vec<Row>>);

const BENCHES: &[Bench] = &[
    ("size", size::run),
    ("memory", memory::run),
    ("boot", boot::run),
    ("llm", llm::run),
    ("mixed", mixed::run),
    ("detection", detection::run),
];

/// The middle one of several measurements.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs the benches and prints a table; fails when a goal is missed.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(unknown) = arguments.names.iter().find(|name| !BENCHES.iter().any(|(bench, _)| bench == name))
    {
        let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        bail!("there is no bench {unknown}; there are {}", names.join(", "));
    }
    let builder = Builder::ready()?;
    let mut rows = Vec::new();
    for (name, bench) in BENCHES {
        if arguments.names.is_empty() || arguments.names.iter().any(|wanted| wanted == name) {
            rows.extend(bench(&builder)?);
        }
    }
    println!("{:<48} {:>10} {:>10} {:>10}  {:<6}", "name", "value", "peer", "goal", "unit");
    for row in &rows {
        let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
        let verdict = if row.ok { "" } else { "MISSED" };
        println!(
            "{:<48} {:>10.2} {:>10} {:>10}  {:<6} {verdict}",
            row.name,
            row.value,
            number(row.peer),
            number(row.goal),
            row.unit
        );
    }
    if let Some(path) = &arguments.json {
        fs::write(path, serde_json::to_vec_pretty(&rows)?)?;
    }
    if rows.iter().any(|row| !row.ok) {
        bail!("a goal was missed");
    }
    Ok(())
}
