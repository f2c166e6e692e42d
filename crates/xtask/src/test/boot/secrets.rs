//! What lies on the disk gives nothing without the box's TPM, and nothing is lost where the TPM comes back.
//! A machine that was opened may also have lost the battery of its clock.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Session, contains, empty, equal, until};
use crate::progress::step;
use crate::qemu::BOOT_LIMIT;
use crate::run;
use crate::test::Tally;

const CAMERA: &str = "/api/v1/cameras/door";
const PASSWORD: &str = "Nightingale-7";
/// Files that hold what a pattern describes. The journal has the command, so the pattern must not fit itself.
const HOLD: &str = "sudo grep -rl --exclude-dir=models -e";
const PASSWORD_PATTERN: &str = "Nightingal[e]-7";
const PRIVATE_KEY_PATTERN: &str = "PRIVAT[E] KEY";
const STATE: &str = "/var/lib/actionbooster";
/// How long a box without its TPM may take to say what it lost.
const TOLD_LIMIT: Duration = Duration::from_secs(60);
/// How old the last known time may be, in seconds.
const LAST_KNOWN_S: u64 = 3_600;

/// Leaves a TPM and a camera behind.
pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    restart(session, true)?;
    tally.check("the box's key is bound to a TPM as soon as there is one", bound(session));
    add_camera(session)?;
    tally.check("no password of a camera lies open on the disk", empty(&session.shell(&password())?));
    tally.check("no key of an authority lies open on the disk", private_keys(session));
    tally.check("programs cannot read each other's keys", keys_of_others(session));
    Ok(())
}

/// The disk comes into a machine without the TPM, and back.
pub fn moved(session: &mut Session, tally: &mut Tally) -> Result<()> {
    add_camera(session)?;
    let authority = authority(session)?;
    let left_at = now(session)?;
    restart(session, false)?;
    tally.check(
        "without the battery of its clock it goes on from the last known time",
        goes_on(session, left_at),
    );
    tally.check("without its TPM the box serves, and says what it can no longer read", without(session));
    tally.check("its authority is another one then", changed(session, &authority));
    restart(session, true)?;
    tally.check("with its TPM again the box reads everything", with_again(session, &authority));
    Ok(())
}

fn password() -> String {
    format!("{HOLD} '{PASSWORD_PATTERN}' {STATE} /var/log /etc /run/actionbooster; true")
}

fn bound(session: &Session) -> Result<()> {
    let report = session.provisioning()?;
    ensure!(report["secrets"] == json!({"bound_to": "tpm", "closed": 0}), "told: {}", report["secrets"]);
    let keys = session.shell(&format!("sudo ls {STATE}/secrets"))?;
    let sealed = Path::new(keys.trim()).extension().is_some_and(|ending| ending == "tpm");
    ensure!(keys.lines().count() == 1 && sealed, "keys: {keys}");
    Ok(())
}

/// At an address where nobody answers.
fn add_camera(session: &Session) -> Result<()> {
    let credentials = session.credentials()?;
    let portal = &session.appliance.portal;
    if portal.get(CAMERA, &credentials)?.status == 200 {
        return Ok(());
    }
    let url = format!("rtsp://owner:{PASSWORD}@127.0.0.1:1/live");
    let camera = json!({"id": "door", "source": {"kind": "rtsp", "url": url}, "model": "shapes"});
    portal.post("/api/v1/cameras", &camera, &credentials)?.expect(201).map(drop)
}

fn private_keys(session: &Session) -> Result<()> {
    let found =
        session.shell(&format!("{HOLD} '{PRIVATE_KEY_PATTERN}' {STATE} /var/log /etc | sort; true"))?;
    // What nginx and sshd read at every start.
    let known = format!("{STATE}/ssh/ssh_host_ed25519_key\n{STATE}/tls/server.key");
    equal(&found, &known)
}

fn keys_of_others(session: &Session) -> Result<()> {
    for user in ["booster-agent", "booster-monitor", "booster-worker", "booster-runner", "owner"] {
        let may = if user == "booster-agent" { "agent" } else { "" };
        let readable = format!(
            "cd /run/actionbooster/secrets; for f in *; do sudo -u {user} test -r $f && echo $f; done; true"
        );
        equal(&session.shell(&readable)?, may).context(user)?;
    }
    Ok(())
}

fn restart(session: &mut Session, with_tpm: bool) -> Result<()> {
    run::switch_off(&mut session.vm, &session.appliance, &session.ready)?;
    session.vm.fit_tpm(with_tpm);
    session.vm.empty_battery(!with_tpm);
    session.vm.power_on()?;
    let what = if with_tpm { "boot with the TPM" } else { "boot without the TPM" };
    session.appliance = step(what, || session.vm.reach())?;
    run::wait_ssh(&mut session.vm, &session.key)
}

/// Seconds since 1970, as the guest counts them.
fn now(session: &Session) -> Result<u64> {
    Ok(session.shell("date +%s")?.trim().parse()?)
}

fn goes_on(session: &Session, left_at: u64) -> Result<()> {
    let now = now(session)?;
    let behind = left_at.saturating_sub(now);
    ensure!(behind <= LAST_KNOWN_S, "the clock is {behind} s behind the time at which the box was left");
    ensure!(now < left_at + LAST_KNOWN_S, "the clock ran ahead, or the battery was not empty");
    Ok(())
}

fn authority(session: &Session) -> Result<Value> {
    Ok(session.provisioning()?["tls"]["ca_sha256"].clone())
}

fn changed(session: &Session, before: &Value) -> Result<()> {
    let now = authority(session)?;
    ensure!(now.is_string() && now != *before, "it is still {now}");
    Ok(())
}

fn without(session: &mut Session) -> Result<()> {
    session.answers()?;
    let report = session.provisioning()?;
    ensure!(report["secrets"] == json!({"bound_to": "disk", "closed": 1}), "told: {}", report["secrets"]);
    let started = std::time::Instant::now();
    until(session, |session| {
        let credentials = session.credentials()?;
        let camera = session.appliance.portal.get(CAMERA, &credentials)?.expect(200)?.json()?;
        contains(&camera["source_state"].to_string(), "write it again")?;
        contains(&camera["source"]["url"].to_string(), "owner:***@")?;
        let health = session.appliance.portal.get("/health", &credentials)?.body;
        contains(&health, "write it again")
    })?;
    ensure!(started.elapsed() < TOLD_LIMIT, "it took {:?}", started.elapsed());
    Ok(())
}

fn with_again(session: &mut Session, authority_before: &Value) -> Result<()> {
    session.appliance.wait_healthy(BOOT_LIMIT, || session.vm.alive())?;
    ensure!(authority(session)? == *authority_before, "its authority is another one");
    let kept = session.shell(&format!("sudo cat {STATE}/cameras/door/camera.json"))?;
    contains(&kept, "owner:sealed.")?;
    let camera = session.appliance.portal.get(CAMERA, &session.credentials()?)?.expect(200)?.json()?;
    ensure!(camera["running"] == true, "the camera does not run: {camera}");
    // The key that was made meanwhile is bound to it as well.
    let report = session.provisioning()?;
    ensure!(report["secrets"] == json!({"bound_to": "tpm", "closed": 0}), "told: {}", report["secrets"]);
    Ok(())
}
