//! A box whose disk is encrypted: chosen at the first start, opened by its TPM without anybody, and by the
//! recovery key where the TPM does not open it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Tally;
use crate::appliance::{Appliance, Ready, session_of};
use crate::builder::Builder;
use crate::http::Credentials;
use crate::image;
use crate::progress::step;
use crate::qemu::{BOOT_LIMIT, Entry, Forwards, Vm};
use crate::run;

const FORWARDS: Forwards = Forwards::from(24443);
const QUESTION: &str = "What is online mode?";
/// What the initrd says when it wants the recovery key, and whether it fits.
const ASKS: &str = "Type its recovery key";
const REFUSES: &str = "This key does not open the disk";
const TAKES: &str = "The recovery key opens the disk";
const ENCRYPTS: &str = "encrypting the data partition";
/// Within what making the partition takes, or close to it.
const AMID: [Duration; 3] = [Duration::from_millis(400), Duration::from_millis(1500), Duration::from_secs(4)];
/// Of the right form, and not the box's.
const OTHER_KEY: &str = "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG";
/// More than an emulated TPM lets pass before it takes power cuts for guesses and locks itself.
const CUTS: u32 = 4;

/// Runs the scenarios on one disk, each a boot of its own.
pub fn run(builder: &Builder) -> Result<Tally> {
    let artifacts = image::build(builder, &image::Options::default())?;
    let mut tally = Tally::default();
    let mut vm = Vm::create(builder, "encryption", &artifacts.disk, &artifacts.kernel, FORWARDS)?;
    let mut owned = Owned::first_start(builder, &mut vm)?;
    tally.check("an encrypted disk is chosen at the first start", owned.is_encrypted());
    tally.check("the owner sees the recovery key, with the password only", owned.shown());
    let first = owned.recovery_key()?;
    // As if the power had gone before the first one was made.
    owned.shell("sudo rm /data/recovery-key && sync")?;
    tally.check("power cuts leave it to the TPM to open the disk", owned.cut_power());
    let recovery_key = owned.recovery_key()?;
    ensure!(first != recovery_key, "the recovery key is still {first}");
    owned.off()?;
    owned.vm.fit_tpm(false);
    tally.check("without its TPM nothing but the recovery key opens it", owned.opened_by_hand(&recovery_key));
    owned.off()?;
    tally.check("a box that nobody unlocks says what to do", owned.locked());
    owned.vm.stop()?;
    owned.vm.fit_tpm(true);
    owned.vm.replace_tpm()?;
    tally.check("so it is with another TPM", owned.opened_by_hand(&recovery_key));
    owned.off()?;
    tally.check("which then opens it by itself", owned.start());
    tally.check("and what was there is there", owned.is_encrypted());
    owned.off()?;
    tally.check(
        "removing everything leaves an encrypted disk, also when the power goes meanwhile",
        owned.removed(),
    );
    Ok(tally)
}

/// A box with an encrypted disk and an owner.
struct Owned<'a, 'b> {
    builder: &'b Builder,
    vm: &'a mut Vm<'b>,
    appliance: Appliance<'b>,
    ready: Ready,
    key: std::path::PathBuf,
}

impl<'a, 'b> Owned<'a, 'b> {
    fn first_start(builder: &'b Builder, vm: &'a mut Vm<'b>) -> Result<Self> {
        vm.fit_tpm(true);
        vm.power_on()?;
        let (appliance, code) = step("a first start with an encrypted disk", || {
            vm.choose(Entry::Encrypt)?;
            let appliance = vm.reach()?;
            let code = vm.claim_code()?;
            appliance.wait_healthy(BOOT_LIMIT, || vm.alive())?;
            Ok((appliance, code))
        })?;
        let ready = appliance.claim(&code)?;
        let key = run::open_ssh(builder, vm, &appliance, &ready)?.key;
        Ok(Self { builder, vm, appliance, ready, key })
    }

    fn shell(&self, script: &str) -> Result<String> {
        self.vm.ssh(&self.key, script)
    }

    fn is_encrypted(&mut self) -> Result<()> {
        run::wait_ssh(self.vm, &self.key)?;
        let below = self.shell("lsblk -nsro TYPE $(findmnt -nvo SOURCE /var) | head -2")?;
        ensure!(below == "crypt\npart\n", "/var lies on {below:?}");
        ensure!(self.shell("findmnt -no OPTIONS /data")?.contains("usrquota"), "there are no quotas");
        self.appliance.ask(&self.ready, QUESTION).map(drop)
    }

    fn recovery_key(&self) -> Result<String> {
        Ok(self.shell("sudo cat /data/recovery-key")?.trim().to_owned())
    }

    fn shown(&self) -> Result<()> {
        let portal = &self.appliance.portal;
        let owner = self.ready.owner.as_ref().context("nobody has claimed the box")?;
        let login = json!({"name": owner.name, "password": owner.password});
        let cookie = session_of(&portal.post("/api/v1/login", &login, &Credentials::None)?.expect(200)?)?;
        let ask =
            |password: &str| portal.post("/api/v1/recovery-key", &json!({"password": password}), &cookie);
        ask("a guess")?.expect(401)?;
        let shown = ask(&owner.password)?.expect(200)?.json()?;
        ensure!(shown["recovery_key"] == self.recovery_key()?, "it shows {shown}");
        let report = portal.get("/api/v1/provisioning", &cookie)?.expect(200)?.json()?;
        ensure!(report["storage"]["encrypted"] == true, "{}", report["storage"]);
        let told = self.shell("sudo boosterctl owner recovery-key")?;
        ensure!(told.trim() == shown["recovery_key"], "boosterctl tells {told}");
        Ok(())
    }

    /// The power goes while the new partition is made: the box is as it was, or new, and encrypted.
    fn removed(&mut self) -> Result<()> {
        for instant in AMID {
            self.vm.power_on()?;
            self.appliance = step(&format!("a reset cut {instant:?} after it began"), || {
                self.vm.choose(Entry::RemoveEverything)?;
                self.vm.wait_shown(ENCRYPTS)?;
                std::thread::sleep(instant);
                self.vm.cut_power()?;
                self.vm.power_on()?;
                self.vm.reach()
            })?;
            ensure!(!self.vm.shows(ASKS), "it asked for the recovery key");
            self.appliance.wait_healthy(BOOT_LIMIT, || self.vm.alive())?;
            let state =
                self.appliance.portal.get("/api/v1/claim", &Credentials::None)?.expect(200)?.json()?;
            if state["claimed"] == false {
                eprintln!("  the box is new");
                self.ready = self.appliance.claim(&self.vm.claim_code()?)?;
                std::fs::remove_file(&self.key)?;
                self.key = run::open_ssh(self.builder, self.vm, &self.appliance, &self.ready)?.key;
            }
            self.is_encrypted()?;
            self.off()?;
        }
        Ok(())
    }

    fn cut_power(&mut self) -> Result<()> {
        for cut in 1..=CUTS {
            self.vm.cut_power()?;
            self.start().with_context(|| format!("after cut {cut}"))?;
        }
        let key = Credentials::Key(self.ready.api_key.clone().context("no API key")?);
        let report = self.appliance.portal.get("/api/v1/provisioning", &key)?.expect(200)?.json()?;
        let expected = json!({"bound_to": "tpm", "closed": 0});
        ensure!(report["secrets"] == expected, "the secrets are {}", report["secrets"]);
        Ok(())
    }

    /// Starts without anybody at the console.
    fn start(&mut self) -> Result<()> {
        self.vm.power_on()?;
        self.appliance = step("a start that nobody watches", || self.vm.reach())?;
        ensure!(!self.vm.shows(ASKS), "it asked for the recovery key");
        self.appliance.wait_healthy(BOOT_LIMIT, || self.vm.alive()).map(drop)
    }

    fn opened_by_hand(&mut self, key: &str) -> Result<()> {
        self.vm.power_on()?;
        self.appliance = step("a start with the recovery key", || {
            self.vm.type_line(ASKS, OTHER_KEY, REFUSES)?;
            self.vm.type_line(ASKS, &key.to_lowercase(), TAKES)?;
            self.vm.reach()
        })?;
        self.appliance.wait_healthy(BOOT_LIMIT, || self.vm.alive())?;
        self.appliance.ask(&self.ready, QUESTION).map(drop)
    }

    fn locked(&mut self) -> Result<()> {
        self.vm.power_on()?;
        let appliance = step("a start that nobody unlocks", || self.vm.reach())?;
        let page = appliance.portal.get("/", &Credentials::None)?.expect(503)?.body;
        ensure!(page.contains("recovery key"), "the page does not say what to do: {page}");
        Ok(())
    }

    fn off(&mut self) -> Result<()> {
        run::switch_off(self.vm, &self.appliance, &self.ready)
    }
}
