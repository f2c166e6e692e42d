//! How large the image is.

use anyhow::Result;

use super::paired::Goal;
use super::{Bench, Row};
use crate::image;

const MIB: f64 = 1024.0 * 1024.0;
const COMPRESSED_GOAL_MIB: f64 = 500.0;
const SLOT_GOAL: f64 = 0.5;

pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let artifacts = image::build(bench.builder, &image::Options::default())?;
    let compressed = std::fs::metadata(&artifacts.compressed)?.len() as f64;
    let filled = artifacts.root_bytes as f64 / artifacts.slot_bytes as f64;
    Ok(vec![
        Row::single("compressed image", compressed / MIB, "MiB", Goal::AtMost(COMPRESSED_GOAL_MIB)),
        Row::plain("root file system", artifacts.root_bytes as f64 / MIB, "MiB", None),
        Row::single("share of the root slot in use", filled, "", Goal::AtMost(SLOT_GOAL)),
    ])
}
