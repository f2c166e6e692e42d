//! The slots: quick power cuts, a damaged environment of GRUB, and a new version that does not work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Session, contains, until};
use crate::progress::step;
use crate::qemu::BOOT_LIMIT;
use crate::run;
use crate::test::Tally;

/// As `image/grub/grub.cfg` tells it on the serial console, after the try is counted.
fn started(slot: &str) -> String {
    format!("ActionBooster, slot {slot}")
}

/// Firmware and GRUB, emulated on a busy machine.
const GRUB_LIMIT: Duration = Duration::from_secs(120);
/// Long enough to use up the tries of a new slot, and far from those of a proven one.
const QUICK_CUTS: u32 = 5;
const SETTINGS: &str = "/var/lib/actionbooster/settings/settings.toml";

/// A proven slot, with everything around it damaged.
pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    tally.check("the slot is proven once it works", proven(session));
    // Wrong for whoever reads it; the keys that let this test in are kept.
    session.shell(&format!(
        "sudo sed -i -e '1i hostname = \"not a name\"' -e /^hostname/d {SETTINGS} &&
         sudo dd if=/dev/urandom of=/boot/efi/grub/grubenv bs=1024 count=1 conv=notrunc,fsync status=none && sync"
    ))?;
    session.vm.cut_power()?;
    for cut in 1..=QUICK_CUTS {
        step(&format!("quick power cut {cut}"), || cut_after_grub(session, "A"))?;
    }
    session.vm.power_on()?;
    let outcome = step("booting after them", || back(session, "A"));
    tally.check(&format!("a proven slot is kept after {QUICK_CUTS} quick power cuts"), outcome);
    tally.check("it is marked good although the owner's settings are damaged", proven(session));
    tally.check("a damaged setting degrades the box, not its slot", degraded(session));
    tally.check("a damaged environment of GRUB is made again and told", mended(session));
    tally.check("the settings can be mended", settings_mended(session));
    Ok(())
}

/// A new version in slot B whose worker does not start: three tries, and the box is back in A by itself.
pub fn trial(session: &mut Session, tally: &mut Tally) -> Result<()> {
    proven(session)?;
    // The same system in B. What breaks it there depends on nothing but the slot; the check of B is cut
    // short, since it must fail anyway.
    session.shell(
        "sudo dd if=/dev/actionbooster/root-a of=/dev/actionbooster/root-b bs=4M conv=fsync status=none &&
         sudo mkdir -p /etc/systemd/system/booster-worker.service.d /etc/systemd/system/booster-mark-good.service.d &&
         printf '[Unit]\\nConditionKernelCommandLine=!actionbooster.slot=B\\n' |
             sudo tee /etc/systemd/system/booster-worker.service.d/broken-in-b.conf >/dev/null &&
         printf '[Service]\\nExecStart=\\nExecStart=/bin/sh -c \"exec boosterctl slot prove --wait $$(grep -q slot=B /proc/cmdline && echo 60 || echo 600)\"\\n' |
             sudo tee /etc/systemd/system/booster-mark-good.service.d/short-in-b.conf >/dev/null",
    )?;
    tally.check("RAUC's installation takes the proof away", released(session));
    session.shell("sudo rauc status mark-active other && sync")?;
    session.vm.cut_power()?;
    for cut in 1..=2 {
        step(&format!("power cut {cut} of a slot on trial"), || cut_after_grub(session, "B"))?;
    }
    session.vm.power_on()?;
    let outcome = step("the third try, which fails its check, and the other slot", || {
        session.vm.wait_console(GRUB_LIMIT, "slot B", |text| text.contains(&started("B")).then_some(()))?;
        session.vm.wait_console(BOOT_LIMIT, "slot A", |text| text.contains(&started("A")).then_some(()))
    });
    tally.check("a slot on trial that does not work is left after three tries", outcome);
    let outcome = step("booting slot A", || back(session, "A"));
    tally.check("the box is back in the slot that worked", outcome);
    tally.check("it says that the new version did not work", fell_back(session));
    session.shell(
        "sudo rm -r /etc/systemd/system/booster-worker.service.d /etc/systemd/system/booster-mark-good.service.d &&
         sudo systemctl daemon-reload && sudo rauc status mark-active booted",
    )?;
    Ok(())
}

/// Switches on and pulls the plug as soon as GRUB has counted the try of this slot.
fn cut_after_grub(session: &mut Session, slot: &str) -> Result<()> {
    session.vm.power_on()?;
    let what = format!("slot {slot}");
    session.vm.wait_console(GRUB_LIMIT, &what, |text| text.contains(&started(slot)).then_some(()))?;
    session.vm.cut_power()
}

/// Waits until the box answers, from this slot.
fn back(session: &mut Session, slot: &str) -> Result<()> {
    session.appliance = session.vm.reach()?;
    run::wait_ssh(&mut session.vm, &session.key)?;
    contains(&session.shell("cat /proc/cmdline")?, &format!("actionbooster.slot={slot}"))
}

/// What the box says of its slots, once it knows.
fn judged(session: &mut Session) -> Result<Value> {
    let mut report = Value::Null;
    until(session, |session| {
        report = serde_json::from_str(&session.shell("boosterctl --json slot; true")?)?;
        ensure!(report["check"]["state"] != "pending", "the slot is still being looked at");
        Ok(())
    })?;
    Ok(report)
}

/// The running slot has all its tries, for GRUB and for RAUC.
fn proven(session: &mut Session) -> Result<()> {
    let report = judged(session)?;
    ensure!(report["check"]["state"] == "passed", "{report}");
    let slots = report["slots"].as_array().context("no slots")?;
    let own = slots.iter().find(|slot| slot["slot"] == report["running"]).context("not its own slot")?;
    ensure!(own["standing"] == "proven" && own["tries_left"] == 12, "{report}");
    let known = session.shell("sudo grub-editenv /boot/efi/grub/grubenv list")?;
    let running = report["running"].as_str().context("no slot runs")?;
    for variable in ["OK=1", "TRY=0", "PROVEN=1"] {
        contains(&known, &format!("{running}_{variable}"))?;
    }
    session.shell("sudo cmp /boot/efi/grub/grubenv /boot/efi/grub/grubenv.bak").map(drop)
}

fn degraded(session: &mut Session) -> Result<()> {
    let report = session.provisioning()?;
    ensure!(report["result"] == "degraded", "the provisioner says {}", report["result"]);
    contains(&session.shell("sudo boosterctl status; true")?, "settings")
}

fn mended(session: &mut Session) -> Result<()> {
    let report = judged(session)?;
    contains(report["mended"].as_str().unwrap_or_default(), "made again from grubenv.bak")?;
    contains(&session.shell("sudo boosterctl status; true")?, "GRUB's environment was mended")
}

fn settings_mended(session: &mut Session) -> Result<()> {
    let credentials = session.credentials()?;
    let wish = json!({"hostname": "actionbooster"});
    session.appliance.portal.send("PATCH", "/api/v1/settings", Some(&wish), &credentials)?.expect(200)?;
    session.appliance.wait_healthy(BOOT_LIMIT, || session.vm.alive()).map(drop)
}

/// What RAUC runs before it writes, on a slot that is said to be proven.
fn released(session: &mut Session) -> Result<()> {
    session.shell("sudo grub-editenv /boot/efi/grub/grubenv set B_OK=1 B_TRY=0 B_PROVEN=1")?;
    session.shell("sudo $(sed -n s/^pre-install=//p /etc/rauc/system.conf)")?;
    let known = session.shell("sudo grub-editenv /boot/efi/grub/grubenv list")?;
    contains(&known, "B_OK=0")?;
    ensure!(!known.contains("B_PROVEN"), "{known}");
    Ok(())
}

fn fell_back(session: &mut Session) -> Result<()> {
    let report = judged(session)?;
    ensure!(report["running"] == "A" && report["check"]["state"] == "passed", "{report}");
    ensure!(report["slots"][0] == json!({"slot": "B", "standing": "on-trial", "tries_left": 0}), "{report}");
    contains(&session.shell("sudo boosterctl status; true")?, "slot A runs in the place of slot B")
}
