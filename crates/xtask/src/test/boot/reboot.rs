//! A reboot keeps who the box is, and changes nothing.

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::{SETTINGS_LIMIT, Session, contains, no_match, system, users};
use crate::http::Credentials;
use crate::progress::step;
use crate::qemu::BOOT_LIMIT;
use crate::run;
use crate::test::Tally;

/// What systemd says of a file system that it could not take away.
const COMPLAINTS: &[&str] =
    &["Failed unmounting", "Failed to unmount", "Could not detach", "Unable to finalize"];

pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    let before = Identity::read(session)?;
    users::hide(session)?;
    step("reboot", || reboot(session))?;
    session.appliance = session.vm.reach()?;
    session.appliance.wait_healthy(BOOT_LIMIT, || session.vm.alive())?;
    run::wait_ssh(&mut session.vm, &session.key)?;
    tally.check("nothing fails on the way down", goes_down_cleanly(&session.vm.console()));
    tally.check("the data partition was unmounted", unmounted(session));
    tally.check("a boot adds users that the database hides", users::is_back(session));
    tally.check("a reboot keeps the identity", Identity::read(session).and_then(|now| before.same_as(&now)));
    tally.check("zRAM is swap after a reboot", system::zram(session));
    tally.check("no unit failed after a reboot", system::no_unit_failed(session));
    tally.check("a reboot keeps owner and keys", session.answers());
    tally.check("a reboot changes nothing in the plan", unchanged(session));
    Ok(())
}

fn reboot(session: &mut Session) -> Result<()> {
    let key = session.credentials()?;
    session.appliance.portal.post("/api/v1/power", &json!({"action": "reboot"}), &key)?;
    // The portal goes away before it comes back.
    let started = std::time::Instant::now();
    while session.appliance.portal.get("/health", &Credentials::None)?.status == 200 {
        session.vm.alive()?;
        if started.elapsed() > SETTINGS_LIMIT {
            bail!("the box did not begin to reboot");
        }
    }
    Ok(())
}

/// What the console shows between the old system's last word and the new one's first.
fn goes_down_cleanly(console: &str) -> Result<()> {
    let complaints: Vec<_> =
        console.lines().filter(|line| COMPLAINTS.iter().any(|word| line.contains(word))).collect();
    ensure!(complaints.is_empty(), "{}", complaints.join("; "));
    Ok(())
}

/// ext4 says so when it finds that nobody unmounted it.
fn unmounted(session: &Session) -> Result<()> {
    let log = session.shell("sudo journalctl -k -b --no-pager -o cat | grep EXT4-fs; true")?;
    contains(&log, "mounted filesystem")?;
    no_match(&log, "recovery")
}

fn unchanged(session: &Session) -> Result<()> {
    let report = session.provisioning()?;
    let steps = report["steps"].as_array().context("the report has no steps")?;
    let failed: Vec<_> = steps.iter().filter(|step| step["status"] == "failed").collect();
    ensure!(failed.is_empty(), "failed steps: {failed:?}");
    ensure!(report["result"] == "ok", "the result is {}", report["result"]);
    Ok(())
}

/// What makes this box this box.
#[derive(PartialEq, Debug)]
struct Identity {
    machine_id: String,
    hostname: String,
    authority: String,
    host_key: String,
}

impl Identity {
    fn read(session: &Session) -> Result<Self> {
        let of = |script: &str| session.shell(script).map(|text| text.trim().to_owned());
        let identity = Self {
            machine_id: of("cat /etc/machine-id")?,
            hostname: of("hostname")?,
            authority: of("sudo sha256sum /var/lib/actionbooster/tls/ca.crt")?,
            host_key: of("cat /var/lib/actionbooster/ssh/*.pub | grep ^ssh- | sha256sum; \
                          sudo cat /var/lib/actionbooster/ssh/ssh_host_ed25519_key.pub")?,
        };
        ensure!(identity.machine_id.len() == 32, "machine id {:?}", identity.machine_id);
        Ok(identity)
    }

    fn same_as(&self, other: &Self) -> Result<()> {
        ensure!(self == other, "was {self:?}, is {other:?}");
        Ok(())
    }
}
