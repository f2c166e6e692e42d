//! The power is cut at a random instant of the first boot, and the box is switched on again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::Tally;
use crate::builder::Builder;
use crate::image;
use crate::progress::{human, step};
use crate::qemu::{BOOT_LIMIT, Forwards, Vm};

const FORWARDS: Forwards = Forwards::from(21443);
/// Firmware and GRUB write nothing; cuts begin after them.
const EARLIEST: Duration = Duration::from_secs(4);

/// Cuts the power `cuts` times, each time on a fresh disk.
pub fn run(builder: &Builder, cuts: u32, seed: Option<u64>) -> Result<Tally> {
    let artifacts = image::build(builder, &image::Options::default())?;
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("  seed {seed} (repeat with --seed {seed})");
    let mut tally = Tally::default();
    let whole = {
        let mut vm = Vm::create(builder, "storm", &artifacts.disk, &artifacts.kernel, FORWARDS)?;
        step("an uninterrupted first boot, to know how long it takes", || provisioned(&mut vm))?
    };
    for cut in 1..=cuts {
        let instant = EARLIEST + whole.saturating_sub(EARLIEST).mul_f64(fraction(seed, cut));
        let name = format!("cut {cut} of {cuts}, {} after power-on", human(instant));
        let mut vm = Vm::create(builder, "storm", &artifacts.disk, &artifacts.kernel, FORWARDS)?;
        let outcome = step(&name, || {
            vm.power_on()?;
            std::thread::sleep(instant);
            vm.cut_power()?;
            provisioned(&mut vm).map(drop)
        });
        tally.check(&format!("{name}: ends provisioned"), outcome);
    }
    Ok(tally)
}

/// Powers on and goes the whole way to a claimed box that answers; returns the time to the claim code.
fn provisioned(vm: &mut Vm) -> Result<Duration> {
    let started = Instant::now();
    vm.power_on()?;
    let appliance = vm.reach()?;
    let code = vm.claim_code()?;
    let elapsed = started.elapsed();
    let health = appliance.wait_healthy(BOOT_LIMIT, || vm.alive())?;
    ensure!(health["components"].is_array(), "health names no parts: {health}");
    let ready = appliance.claim(&code).context("the code on the console does not claim the box")?;
    appliance.ask(&ready, "What is online mode?")?;
    vm.cut_power()?;
    Ok(elapsed)
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
