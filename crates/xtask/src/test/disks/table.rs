//! The partition table of a machine's disk, read while the machine is off.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use booster_initrd::gpt::{Entry, Header, PRIMARY, Table};

use crate::builder::Builder;

const BLOCK: usize = 512;
/// Header and entries of the first table are in the first mebibyte.
const HEAD: &str = "1M";

/// The partitions on a disk, in the format qcow2 or raw.
pub fn partitions(builder: &Builder, disk: &Path) -> Result<Vec<Entry>> {
    let format = if disk.extension().is_some_and(|ending| ending == "qcow2") { "qcow2" } else { "raw" };
    let head = builder.cache().join("vm/head.raw");
    let (from, to) = (builder.inside(disk)?, builder.inside(&head)?);
    let (from, to) = (format!("if={}", from.display()), format!("of={}", to.display()));
    builder.output(&[
        "qemu-img",
        "dd",
        "-f",
        format,
        "-O",
        "raw",
        &format!("bs={HEAD}"),
        "count=1",
        &from,
        &to,
    ])?;
    let bytes = fs::read(&head).context("cannot read the beginning of the disk")?;
    fs::remove_file(&head)?;
    read(&bytes).with_context(|| format!("{} has no valid partition table", disk.display()))
}

fn read(bytes: &[u8]) -> Option<Vec<Entry>> {
    // How long the disk is does not matter here.
    let header = Header::parse(bytes.get(BLOCK..2 * BLOCK)?, PRIMARY, u64::MAX)?;
    let start = usize::try_from(header.entries_block).ok()? * BLOCK;
    let entries = bytes.get(start..start + header.table_bytes())?.to_vec();
    let table = Table::new(header, entries)?;
    Some((1..=128).filter_map(|number| table.entry(number)).collect())
}
