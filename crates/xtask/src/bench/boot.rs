//! Time from QEMU's start to the first page, beside a bare Debian with systemd and nginx.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::paired::{Goal, Pairs, Rounds, measure};
use super::{Bench, Row};
use crate::builder::Builder;
use crate::image;
use crate::qemu::{BOOT_LIMIT, Forwards, Vm};

const OURS: Forwards = Forwards::from(22443);
const PEER: Forwards = Forwards::from(22543);
/// Boots of each.
const ROUNDS: Rounds = Rounds { least: 6, most: 10 };
const GOAL: Goal = Goal::AtMost(1.5);

pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let builder = bench.builder;
    let artifacts = image::build(builder, &image::Options::default())?;
    let bare = bare_image(builder)?;
    let mut pairs = Pairs::default();
    let boot = |_| {
        let mut vm = Vm::create(builder, "bench-bare", &bare, &artifacts.kernel, PEER)?;
        let peer = until_page(builder, &mut vm, PEER.web.http)?;
        // A first boot: the disk is fresh, so partitioning, keys and certificates are in the time.
        let mut vm = Vm::create(builder, "bench-boot", &artifacts.disk, &artifacts.kernel, OURS)?;
        Ok((until_page(builder, &mut vm, OURS.web.https)?, peer))
    };
    measure("booting both in turn", ROUNDS, boot, |(ours, peer)| {
        pairs.push(ours, peer);
        pairs.is_clear(Some(GOAL))
    })?;
    Ok(Row::compared("first boot to the portal / bare Debian", "s", &pairs, Some(GOAL)).into())
}

fn until_page(builder: &Builder, vm: &mut Vm, port: u16) -> Result<f64> {
    let scheme = if port == OURS.web.https { "https" } else { "http" };
    let url = format!("{scheme}://127.0.0.1:{port}/");
    let started = Instant::now();
    vm.power_on()?;
    loop {
        let mut command =
            builder.command(&["curl", "-k", "-s", "-f", "-o", "/dev/null", "--max-time", "10", &url]);
        if command.stdin(Stdio::null()).status()?.success() {
            let elapsed = started.elapsed().as_secs_f64();
            vm.cut_power()?;
            return Ok(elapsed);
        }
        vm.alive()?;
        if started.elapsed() > BOOT_LIMIT {
            bail!("{url} did not answer within {BOOT_LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn bare_image(builder: &Builder) -> Result<PathBuf> {
    let folder = builder.cache().join("mkosi-bare");
    let disk = folder.join("bare.raw");
    let configuration = fs::read(builder.checkout().join("image/bare/mkosi.conf"))?;
    let stamp = folder.join("configuration");
    if disk.exists() && fs::read(&stamp).ok().as_deref() == Some(&configuration[..]) {
        return Ok(disk);
    }
    fs::create_dir_all(&folder)?;
    image::write_package_sources(builder, &folder.join("sandbox"))?;
    builder.run(
        "building the bare Debian image",
        "bare-image",
        &[
            "mkosi",
            "--directory",
            "image/bare",
            "--sandbox-tree",
            "/cache/mkosi-bare/sandbox",
            "--output-directory",
            "/cache/mkosi-bare",
            "--workspace-directory",
            "/cache/mkosi-bare",
            "--package-cache-dir",
            "/cache/mkosi-packages",
            "--force",
            "build",
        ],
    )?;
    fs::write(stamp, configuration)?;
    Ok(disk)
}
