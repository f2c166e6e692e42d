//! The image in a virtual machine: one boot for many checks, each topic a section of its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Tally;
use crate::appliance::{Appliance, Ready};
use crate::builder::Builder;
use crate::http::Credentials;
use crate::progress::step;
use crate::qemu::{BOOT_LIMIT, Forwards, Vm};
use crate::{image, run};

mod cameras;
mod certificates;
mod damage;
mod firewall;
mod names;
mod privileges;
mod reboot;
mod secrets;
mod slot;
mod storage;
mod system;
mod users;
mod web;

const FORWARDS: Forwards = Forwards::from(20443);
const SETTINGS_LIMIT: Duration = Duration::from_secs(240);

/// A claimed appliance in a virtual machine, with a shell.
pub(super) struct Session<'a> {
    pub builder: &'a Builder,
    pub vm: Vm<'a>,
    pub appliance: Appliance<'a>,
    pub ready: Ready,
    /// Private key of the shell.
    pub key: PathBuf,
    /// The code with which it was claimed.
    pub claim_code: String,
}

type Section = (&'static str, fn(&mut Session, &mut Tally) -> Result<()>);

/// In the order they run: what only looks, then what changes, then what destroys.
const SECTIONS: &[Section] = &[
    ("web", web::run),
    ("system", system::run),
    ("privileges", privileges::run),
    ("firewall", firewall::run),
    ("names", names::run),
    ("cameras", cameras::run),
    ("certificates", certificates::run),
    ("theft", certificates::theft),
    ("users", users::run),
    ("reboot", reboot::run),
    ("slot", slot::run),
    ("trial", slot::trial),
    ("storage", storage::run),
    ("many-files", storage::many_files),
    ("failing-disk", storage::failing),
    ("secrets", secrets::run),
    ("moved", secrets::moved),
    ("damage", damage::run),
];
/// Takes too long for every run, and must be asked for by name.
const LONG: &[&str] = &["many-files"];

/// Boots and claims the image, and runs the sections named in `only`, or all but the long ones.
pub fn run(builder: &Builder, only: &[String]) -> Result<Tally> {
    let names: Vec<_> = SECTIONS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = only.iter().find(|wanted| !names.contains(&wanted.as_str())) {
        anyhow::bail!("there is no section {unknown}; there are {}", names.join(", "));
    }
    let artifacts = image::build(builder, &image::Options::default())?;
    let mut tally = Tally::default();
    let mut vm = Vm::create(builder, "boot", &artifacts.disk, &artifacts.kernel, FORWARDS)?;
    for (host, guest) in firewall::CLOSED {
        vm.forward(*host, *guest);
    }
    vm.power_on()?;
    let appliance = step("first boot", || vm.reach())?;
    let claim_code = vm.claim_code()?;
    appliance.wait_healthy(BOOT_LIMIT, || vm.alive())?;
    web::unclaimed(builder, &vm, &appliance, &mut tally);
    let ready = step("claiming the box", || appliance.claim(&claim_code))?;
    let key = run::open_ssh(builder, &mut vm, &appliance, &ready)?.key;
    let mut session = Session { builder, vm, appliance, ready, key, claim_code };
    for (name, section) in SECTIONS {
        let is_wanted =
            if only.is_empty() { !LONG.contains(name) } else { only.iter().any(|wanted| wanted == name) };
        if is_wanted {
            section(&mut session, &mut tally).with_context(|| format!("the section {name} broke off"))?;
        }
    }
    Ok(tally)
}

impl Session<'_> {
    /// What a script prints in the guest, run as its owner.
    fn shell(&self, script: &str) -> Result<String> {
        self.vm.ssh(&self.key, script)
    }

    /// The first API key, which may do everything.
    fn credentials(&self) -> Result<Credentials> {
        Ok(Credentials::Key(self.ready.api_key.clone().context("no API key")?))
    }

    /// The provisioner's report.
    fn provisioning(&self) -> Result<Value> {
        self.appliance.portal.get("/api/v1/provisioning", &self.credentials()?)?.expect(200)?.json()
    }

    /// Asks the built-in guide through nginx.
    fn answers(&self) -> Result<()> {
        self.appliance.ask(&self.ready, "What is online mode?").map(drop)
    }
}

/// Repeats a check whose cause takes effect a moment later.
fn until(session: &mut Session, mut check: impl FnMut(&mut Session) -> Result<()>) -> Result<()> {
    let started = std::time::Instant::now();
    loop {
        match check(session) {
            Ok(()) => return Ok(()),
            Err(cause) if started.elapsed() > SETTINGS_LIMIT => return Err(cause),
            Err(_) => session.vm.alive()?,
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}

fn contains(text: &str, wanted: &str) -> Result<()> {
    ensure!(text.contains(wanted), "{wanted:?} is not in {text:.600}");
    Ok(())
}

fn no_match(text: &str, unwanted: &str) -> Result<()> {
    let found: Vec<_> = text.lines().filter(|line| line.contains(unwanted)).collect();
    ensure!(found.is_empty(), "{}", found.join("; "));
    Ok(())
}

fn empty(text: &str) -> Result<()> {
    ensure!(text.trim().is_empty(), "{}", text.trim());
    Ok(())
}

fn equal(text: &str, wanted: &str) -> Result<()> {
    ensure!(text.trim() == wanted, "{} instead of {wanted}", text.trim());
    Ok(())
}
