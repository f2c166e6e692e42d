//! zRAM after a first boot. Not part of a plain run: on some first boots its unit still fails,
//! because the device is busy at the moment it is set up (SPEC.md says so).

use anyhow::{Context, Result, ensure};

use super::Tally;
use crate::builder::Builder;
use crate::http::Credentials;
use crate::qemu::{BOOT_LIMIT, Forwards, Vm};
use crate::{image, run};

const FORWARDS: Forwards = Forwards::from(23443);
/// The unit that boot's check of failed units leaves to this suite.
pub const UNIT: &str = "systemd-zram-setup@zram0.service";

pub fn run(builder: &Builder) -> Result<Tally> {
    let artifacts = image::build(builder, &image::Options::default())?;
    let mut vm = Vm::create(builder, "zram", &artifacts.disk, &artifacts.kernel, FORWARDS)?;
    vm.power_on()?;
    let appliance = vm.reach()?;
    let code = vm.claim_code()?;
    appliance.wait_healthy(BOOT_LIMIT, || vm.alive())?;
    let ready = appliance.claim(&code)?;
    let ssh = run::open_ssh(builder, &mut vm, &appliance, &ready)?;
    let key = Credentials::Key(ready.api_key.clone().context("no API key")?);
    let report = appliance.portal.get("/api/v1/provisioning", &key)?.expect(200)?.json()?;
    let planned = report["memory"]["zram_bytes"].as_u64().context("the report plans no zRAM")?;
    let mut tally = Tally::default();
    let state = vm.ssh(&ssh.key, &format!("systemctl is-failed '{UNIT}'; true"))?;
    tally.check("its unit did not fail", is(state.trim() != "failed", &state));
    let size: u64 = vm.ssh(&ssh.key, "cat /sys/block/zram0/disksize")?.trim().parse()?;
    // zram-generator rounds to whole mebibytes.
    tally.check(
        "it has the planned size",
        is(planned.abs_diff(size) <= 1 << 20, &format!("{size} of {planned}")),
    );
    let swaps = vm.ssh(&ssh.key, "cat /proc/swaps")?;
    tally.check("it is used as swap", is(swaps.contains("/dev/zram0"), &swaps));
    Ok(tally)
}

fn is(holds: bool, found: &str) -> Result<()> {
    ensure!(holds, "found {found}");
    Ok(())
}
