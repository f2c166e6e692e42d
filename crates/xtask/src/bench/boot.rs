//! Time from QEMU's start to the first page, beside a bare Debian with systemd and nginx.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Row, median};
use crate::builder::Builder;
use crate::image;
use crate::qemu::{BOOT_LIMIT, Forwards, Vm};

const OURS: Forwards = Forwards::from(22443);
const PEER: Forwards = Forwards::from(22543);
/// Boots of each; the median counts.
const ROUNDS: usize = 3;
const GOAL_RATIO: f64 = 1.5;

pub fn run(builder: &Builder) -> Result<Vec<Row>> {
    let artifacts = image::build(builder, &image::Options::default())?;
    let bare = bare_image(builder)?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut vm = Vm::create(builder, "bench-bare", &bare, &artifacts.kernel, PEER)?;
        peer.push(until_page(builder, &mut vm, PEER.web.http)?);
        // A first boot: the disk is fresh, so partitioning, keys and certificates are in the time.
        let mut vm = Vm::create(builder, "bench-boot", &artifacts.disk, &artifacts.kernel, OURS)?;
        ours.push(until_page(builder, &mut vm, OURS.web.https)?);
    }
    let (ours, peer) = (median(&mut ours), median(&mut peer));
    Ok(vec![
        Row::plain("first boot to the portal", ours, "s", Some(peer)),
        Row::at_most("first boot to the portal / bare Debian", ours / peer, "ratio", None, GOAL_RATIO),
    ])
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
