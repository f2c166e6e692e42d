//! How large the image is.

use anyhow::Result;

use super::Row;
use crate::builder::Builder;
use crate::image;

const MIB: f64 = 1024.0 * 1024.0;
const COMPRESSED_GOAL_MIB: f64 = 500.0;
const SLOT_GOAL: f64 = 0.5;

pub fn run(builder: &Builder) -> Result<Vec<Row>> {
    let artifacts = image::build(builder, &image::Options::default())?;
    let compressed = std::fs::metadata(&artifacts.compressed)?.len() as f64;
    let filled = artifacts.root_bytes as f64 / artifacts.slot_bytes as f64;
    Ok(vec![
        Row::at_most("compressed image", compressed / MIB, "MiB", None, COMPRESSED_GOAL_MIB),
        Row::plain("root file system", artifacts.root_bytes as f64 / MIB, "MiB", None),
        Row::at_most("share of the root slot in use", filled, "ratio", None, SLOT_GOAL),
    ])
}
