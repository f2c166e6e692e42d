//! The power is cut at a random instant of the first boot or of a factory reset, and the box is switched
//! on again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::{Tally, disks};
use crate::appliance::Ready;
use crate::builder::Builder;
use crate::http::Credentials;
use crate::image::{self, Artifacts};
use crate::progress::{human, step};
use crate::qemu::{BOOT_LIMIT, Bus, Disk, Entry, Forwards, Vm};

const FORWARDS: Forwards = Forwards::from(21443);
/// Firmware and GRUB write nothing but their counters; cuts begin after them.
const EARLIEST: Duration = Duration::from_secs(4);

const QUESTION: &str = "What is online mode?";

/// How often the power is cut.
#[derive(Debug, Clone, Copy)]
pub struct Cuts {
    /// During the first boot, each time on a fresh disk.
    pub first_boot: u32,
    /// During a factory reset, and as often again with a copy of the disk beside it.
    pub reset: u32,
}

/// Cuts the power at instants that follow from the seed.
pub fn run(builder: &Builder, cuts: Cuts, seed: Option<u64>) -> Result<Tally> {
    let artifacts = image::build(builder, &image::Options::default())?;
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("  seed {seed} (repeat with --seed {seed})");
    let mut tally = Tally::default();
    let mut vm = Vm::create(builder, "storm-whole", &artifacts.disk, &artifacts.kernel, FORWARDS)?;
    let (whole, ready) =
        step("an uninterrupted first boot, to know how long it takes", || provisioned(&mut vm))?;
    for cut in 1..=cuts.first_boot {
        let instant = EARLIEST + whole.saturating_sub(EARLIEST).mul_f64(fraction(seed, cut));
        let name = format!("cut {cut} of {}, {} after power-on", cuts.first_boot, human(instant));
        let mut vm = Vm::create(builder, "storm", &artifacts.disk, &artifacts.kernel, FORWARDS)?;
        let outcome = step(&name, || {
            vm.power_on()?;
            std::thread::sleep(instant);
            vm.cut_power()?;
            provisioned(&mut vm).map(drop)
        });
        tally.check(&format!("{name}: ends provisioned"), outcome);
    }
    let claimed = Claimed { disk: vm.folder().join("disk.qcow2"), ready, whole };
    for cut in 1..=cuts.reset {
        for twice in [false, true] {
            let fraction = fraction(seed, cuts.first_boot + 2 * cut + u32::from(twice));
            let beside = if twice { ", a copy of the disk beside it" } else { "" };
            let name = format!("reset {cut} of {}{beside}", cuts.reset);
            claimed.cut_reset(builder, &artifacts, &name, twice, fraction, &mut tally)?;
        }
    }
    Ok(tally)
}

/// A box that was claimed, switched off.
struct Claimed {
    disk: PathBuf,
    ready: Ready,
    /// What its first boot took.
    whole: Duration,
}

impl Claimed {
    fn cut_reset(
        &self,
        builder: &Builder,
        artifacts: &Artifacts,
        name: &str,
        twice: bool,
        fraction: f64,
        tally: &mut Tally,
    ) -> Result<()> {
        let mut vm = Vm::create(builder, "storm", &artifacts.disk, &artifacts.kernel, FORWARDS)?;
        let layer =
            |file: &str| Disk::over(builder, &self.disk, "qcow2", vm.folder().join(file), Bus::Virtio);
        let (own, copy) = (layer("own.qcow2")?, layer("copy.qcow2")?);
        if twice {
            vm.plug(vec![copy.clone(), own], 1);
        } else {
            vm.plug(vec![own], 0);
        }
        // Table and file system are made at the beginning, so more cuts fall there.
        let instant = self.whole.mul_f64(fraction * fraction);
        let name = format!("{name}, cut after {}", human(instant));
        let outcome = step(&name, || {
            vm.power_on()?;
            vm.choose(Entry::RemoveEverything)?;
            std::thread::sleep(instant);
            vm.cut_power()?;
            self.as_before_or_new(&mut vm)
        });
        tally.check(&format!("{name}: ends as it was or ready to be claimed"), outcome);
        if twice {
            tally.check(&format!("{name}: the copy is not written to"), disks::untouched(builder, &copy));
        }
        Ok(())
    }

    /// Powers on, and finds either the owner's box or one that can be claimed.
    fn as_before_or_new(&self, vm: &mut Vm) -> Result<()> {
        vm.power_on()?;
        let appliance = vm.reach()?;
        appliance.wait_healthy(BOOT_LIMIT, || vm.alive())?;
        let key = Credentials::Key(self.ready.api_key.clone().context("no API key")?);
        match appliance.portal.get("/api/v1/keys", &key)?.status {
            200 => appliance.ask(&self.ready, QUESTION)?,
            401 => {
                let ready = appliance.claim(&vm.claim_code()?)?;
                appliance.ask(&ready, QUESTION)?
            }
            other => bail!("the owner's key gets status {other}"),
        };
        vm.stop()
    }
}

/// Powers on and goes the whole way to a claimed box that answers; returns the time to the claim code.
fn provisioned(vm: &mut Vm) -> Result<(Duration, Ready)> {
    let started = Instant::now();
    vm.power_on()?;
    let appliance = vm.reach()?;
    let code = vm.claim_code()?;
    let elapsed = started.elapsed();
    let health = appliance.wait_healthy(BOOT_LIMIT, || vm.alive())?;
    ensure!(health["components"].is_array(), "health names no parts: {health}");
    let ready = appliance.claim(&code).context("the code on the console does not claim the box")?;
    appliance.ask(&ready, QUESTION)?;
    vm.cut_power()?;
    Ok((elapsed, ready))
}

/// A number in [0, 1) for this cut, the same for the same seed.
fn fraction(seed: u64, cut: u32) -> f64 {
    let digest = Sha256::digest([seed.to_le_bytes().as_slice(), &cut.to_le_bytes()].concat());
    let mut first = [0_u8; 4];
    first.copy_from_slice(&digest[..4]);
    f64::from(u32::from_le_bytes(first)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::fraction;

    #[test]
    fn the_same_seed_cuts_at_the_same_instants() {
        assert_eq!(fraction(7, 1).to_bits(), fraction(7, 1).to_bits());
        assert_ne!(fraction(7, 1).to_bits(), fraction(7, 2).to_bits());
        assert!((1..200).all(|cut| (0.0..1.0).contains(&fraction(3, cut))));
    }
}
