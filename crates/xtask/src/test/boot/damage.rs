//! A data partition that is beyond repair leads to a page that says so, and nothing is formatted.

use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Session, contains};
use crate::builder::Builder;
use crate::http::Credentials;
use crate::progress::step;
use crate::qemu::Vm;
use crate::run;
use crate::test::Tally;

/// Leaves a box without its data behind.
pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    run::switch_off(&mut session.vm, &session.appliance, &session.ready)?;
    step("damaging the data partition", || damage(session.builder, &session.vm))?;
    session.vm.power_on()?;
    tally.check("a damaged data partition leads to a page that says so", damaged_page(&mut session.vm));
    Ok(())
}

/// Overwrites the beginning and the backup superblocks, as a dying SD card might.
fn damage(builder: &Builder, vm: &Vm) -> Result<()> {
    const SECTOR: u64 = 512;
    // A block group of ext4; every backup superblock lies at the beginning of one.
    const GROUP: u64 = 128 << 20;
    const SCRATCH: usize = 1 << 20;
    let raw = vm.folder().join("damaged.raw");
    let raw_inside = builder.inside(&raw)?.display().to_string();
    let disk_inside = builder.inside(&vm.folder().join("disk.qcow2"))?.display().to_string();
    builder.output(&["qemu-img", "convert", "-O", "raw", &disk_inside, &raw_inside])?;
    let table: Value = serde_json::from_str(&builder.output(&["sfdisk", "--json", &raw_inside])?)?;
    let partitions = table["partitiontable"]["partitions"].as_array().context("no partitions")?;
    let data =
        partitions.iter().find(|partition| partition["name"] == "data").context("no data partition")?;
    let bytes = |field: &str| data[field].as_u64().map(|sectors| sectors * SECTOR).context("not a number");
    let (start, size) = (bytes("start")?, bytes("size")?);
    let file = std::fs::OpenOptions::new().write(true).open(&raw)?;
    for group in (0..size).step_by(usize::try_from(GROUP)?) {
        let length = SCRATCH.min(usize::try_from(size - group)?);
        file.write_all_at(&vec![0xa5; length], start + group)?;
    }
    drop(file);
    builder.output(&["qemu-img", "convert", "-O", "qcow2", &raw_inside, &disk_inside])?;
    std::fs::remove_file(raw)?;
    Ok(())
}

fn damaged_page(vm: &mut Vm) -> Result<()> {
    let appliance = vm.reach()?;
    let answer = appliance.portal.get("/", &Credentials::None)?;
    contains(&answer.body.to_lowercase(), "data")?;
    let health = appliance.portal.get("/health", &Credentials::None)?;
    ensure!(health.json()?["status"] == "degraded", "health says {}", health.body);
    Ok(())
}
