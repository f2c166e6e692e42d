//! What the idle daemons cost: their proportional set size, natively, with no model loaded.

use std::fs;

use anyhow::{Context, Result};

use super::paired::Goal;
use super::{Bench, Row};
use crate::appliance::Ports;
use crate::dev::Session;
use crate::payload;

const PORTS: Ports = Ports { https: 19443, http: 19480, worker: Some(19701) };
/// Goal for all idle daemons together.
const GOAL_MIB: f64 = 60.0;

pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let builder = bench.builder;
    payload::compile(builder)?;
    payload::build_portal(builder)?;
    let mut session = Session::start(builder, PORTS)?;
    session.reach()?;
    let mut rows = Vec::new();
    let mut sum = 0.0;
    for (name, pid) in session.daemons() {
        let mebibytes = pss_kib(pid)? / 1024.0;
        sum += mebibytes;
        rows.push(Row::plain(&format!("idle memory of {name} (PSS)"), mebibytes, "MiB", None));
    }
    rows.push(Row::single("idle memory of all daemons (PSS)", sum, "MiB", Goal::AtMost(GOAL_MIB)));
    session.stop()?;
    Ok(rows)
}

/// `Pss` of `/proc/PID/smaps_rollup`, in KiB.
fn pss_kib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line =
        text.lines().find(|line| line.starts_with("Pss:")).with_context(|| format!("no Pss in {path}"))?;
    let number = line.split_whitespace().nth(1).context("no number after Pss")?;
    Ok(number.parse()?)
}
