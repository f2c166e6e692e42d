//! What the box is called, which time it shows, and what damaged settings do to both.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Session, contains, equal, until};
use crate::http::Credentials;
use crate::test::Tally;

const SETTINGS: &str = "/var/lib/actionbooster/settings/settings.toml";
/// By how much the clock is set wrong. Less than any certificate or session lasts.
const SHIFT_S: i64 = 2 * 3600;
/// Setting a clock under emulation, and asking for it, takes seconds.
const TOLERANCE_S: i64 = 60;

pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    let name = session.shell("hostname")?.trim().to_owned();
    tally.check("the box is called after its identity", called(&name));
    tally.check("report, console, certificate and mDNS have that name", everywhere(session, &name));
    tally.check("another name on the network is noticed, shown and certified", renamed(session, &name));
    tally.check("timesyncd asks the router, and Debian's servers only in online mode", servers(session));
    tally.check("the owner sets the clock through the API", clock_set(session));
    tally.check("the clock takes no absurd time", clock_refused(session));
    tally.check("nobody but root sets the clock otherwise", clock_closed(session));
    tally.check("the last known time is kept", kept(session));
    tally.check("the time zone follows the settings", zone(session));
    tally.check("a damaged setting is named and is as it was", damaged(session));
    Ok(())
}

fn called(name: &str) -> Result<()> {
    let end = name.strip_prefix("actionbooster-").with_context(|| format!("it is called {name}"))?;
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    ensure!(end.len() == 4 && end.bytes().all(hexadecimal), "it is called {name}");
    Ok(())
}

fn everywhere(session: &Session, name: &str) -> Result<()> {
    found_as(session, name, name)?;
    contains(&session.vm.console(), &format!("https://{name}.local"))?;
    equal(&published(session)?, name)
}

/// What report, console and certificate say.
fn found_as(session: &Session, hostname: &str, published: &str) -> Result<()> {
    let report = session.provisioning()?;
    let network = &report["network"];
    ensure!(network["hostname"] == hostname, "the report says {network}");
    ensure!(network["mdns_name"] == format!("{published}.local"), "the report says {network}");
    let page = session.shell("sudo cat /run/actionbooster/console.txt")?;
    contains(&page, &format!("https://{published}.local"))?;
    // What nginx shows, for the name as a browser types it.
    let address = format!("{published}.local");
    session.shell(&format!(
        "curl -fsS -o /dev/null --cacert /var/lib/actionbooster/tls/ca.crt --resolve {address}:443:127.0.0.1 https://{address}/"
    ))?;
    Ok(())
}

fn published(session: &Session) -> Result<String> {
    let property =
        "org.freedesktop.resolve1 /org/freedesktop/resolve1 org.freedesktop.resolve1.Manager LLMNRHostname";
    let answer: Value =
        serde_json::from_str(&session.shell(&format!("busctl --json=short get-property {property}"))?)?;
    Ok(answer["data"].as_str().context("no name")?.to_owned())
}

/// systemd-resolved adds a number to a name that is taken; for who watches it, a changed host name is the same.
fn renamed(session: &mut Session, name: &str) -> Result<()> {
    let other = format!("{name}7");
    session.shell(&format!("sudo hostname {other}"))?;
    until(session, |session| found_as(session, name, &other))?;
    let taken = session.provisioning()?["network"]["taken_name"].clone();
    ensure!(taken == format!("{name}.local"), "taken: {taken}");
    session.shell(&format!("sudo hostname {name}"))?;
    until(session, |session| found_as(session, name, name))
}

fn servers(session: &mut Session) -> Result<()> {
    equal(&session.shell("systemctl is-active systemd-timesyncd.service")?, "active")?;
    let asked = |session: &Session| session.shell("timedatectl show-timesync -p FallbackNTPServers --value");
    equal(&asked(session)?, "_gateway")?;
    wish(session, &json!({"online": true}))?;
    until(session, |session| contains(&asked(session)?, "_gateway 0.debian.pool.ntp.org"))?;
    wish(session, &json!({"online": false}))?;
    until(session, |session| equal(&asked(session)?, "_gateway"))
}

fn wish(session: &Session, change: &Value) -> Result<()> {
    let credentials = session.credentials()?;
    session
        .appliance
        .portal
        .send("PATCH", "/api/v1/settings", Some(change), &credentials)?
        .expect(200)
        .map(drop)
}

fn guest_s(session: &Session) -> Result<i64> {
    Ok(session.shell("date +%s")?.trim().parse()?)
}

fn set_clock(session: &Session, unix_s: i64) -> Result<crate::http::Answer> {
    let body = json!({"unix_ms": unix_s * 1000});
    session.appliance.portal.send("PUT", "/api/v1/time", Some(&body), &session.credentials()?)
}

fn clock_set(session: &Session) -> Result<()> {
    let before = guest_s(session)?;
    for target in [before + SHIFT_S, before] {
        let clock = set_clock(session, target)?.expect(200)?.json()?;
        ensure!(clock["source"] == "owner" && clock["believed"] == true, "{clock}");
        let now = guest_s(session)?;
        ensure!((now - target).abs() <= TOLERANCE_S, "set to {target}, shows {now}");
    }
    equal(&session.shell("systemctl is-active systemd-timesyncd.service")?, "active")?;
    // The machine's own clock was set too.
    let rtc: i64 = session.shell("cat /sys/class/rtc/rtc0/since_epoch")?.trim().parse()?;
    ensure!((rtc - guest_s(session)?).abs() <= TOLERANCE_S, "the machine's own clock shows {rtc}");
    Ok(())
}

fn clock_refused(session: &Session) -> Result<()> {
    let now = guest_s(session)?;
    set_clock(session, 0)?.expect(422)?;
    set_clock(session, now + 30 * 366 * 86_400)?.expect(422)?;
    let body = json!({"unix_ms": now * 1000});
    session
        .appliance
        .portal
        .send("PUT", "/api/v1/time", Some(&body), &Credentials::None)?
        .expect(401)
        .map(drop)
}

fn clock_closed(session: &Session) -> Result<()> {
    let timedate = "org.freedesktop.timedate1 /org/freedesktop/timedate1 org.freedesktop.timedate1";
    for user in ["booster-monitor", "booster-agent", "booster-worker", "booster-runner", "www-data"] {
        for call in
            ["SetTime xbb 1000000 true false", "SetTimezone sb Europe/Rome false", "SetNTP bb false false"]
        {
            let outcome = session
                .shell(&format!("sudo -u {user} busctl call {timedate} {call} 2>&1; echo status $?"))?;
            ensure!(!outcome.contains("status 0"), "{user}: {call}: {outcome}");
        }
    }
    let start = "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartUnit ss booster-clock.service replace";
    let outcome =
        session.shell(&format!("sudo -u booster-agent busctl call {start} 2>&1; echo status $?"))?;
    ensure!(!outcome.contains("status 0"), "the agent may start booster-clock.service: {outcome}");
    Ok(())
}

fn kept(session: &Session) -> Result<()> {
    session.shell("sudo systemctl start booster-clock.service")?;
    let kept: i64 = session.shell("stat -c %Y /var/lib/systemd/timesync/clock")?.trim().parse()?;
    let now = guest_s(session)?;
    ensure!((now - kept).abs() <= TOLERANCE_S, "kept {kept}, now {now}");
    let built: i64 = session.shell("stat -c %Y /usr/lib/clock-epoch")?.trim().parse()?;
    ensure!(built > 1_700_000_000 && built <= now, "the image says it was made at {built}");
    equal(&session.shell("systemctl is-active booster-clock.timer")?, "active")
}

fn zone(session: &mut Session) -> Result<()> {
    let unknown = json!({"time_zone": "Europe/Atlantis"});
    let credentials = session.credentials()?;
    session.appliance.portal.send("PATCH", "/api/v1/settings", Some(&unknown), &credentials)?.expect(422)?;
    for zone in ["Europe/Madrid", "Asia/Calcutta", "UTC"] {
        wish(session, &json!({"time_zone": zone}))?;
        // timedated tells what was true when it started, and every question keeps it running.
        let link = format!("../usr/share/zoneinfo/{zone}");
        until(session, |session| equal(&session.shell("readlink /etc/localtime")?, &link))?;
    }
    Ok(())
}

/// Strangers learn that something is wrong, the owner which field, and nobody its value.
fn damaged(session: &mut Session) -> Result<()> {
    wish(session, &json!({"hostname": "kitchen"}))?;
    until(session, |session| found_as(session, "kitchen", "kitchen"))?;
    session.shell(&format!("sudo sed -i 's/\"kitchen\"/\"secret name\"/' {SETTINGS}"))?;
    session.shell("sudo systemctl restart booster-provisioner.service")?;
    let credentials = session.credentials()?;
    let health = session.appliance.portal.get("/health", &credentials)?.body;
    contains(&health, "hostname")?;
    ensure!(!health.contains("secret name"), "{health}");
    let public = session.appliance.portal.get("/health", &Credentials::None)?.body;
    ensure!(!public.contains("hostname"), "{public}");
    equal(&session.shell("hostname")?, "kitchen")?;
    // Any change writes the file anew.
    wish(session, &json!({"time_zone": "UTC"}))?;
    until(session, |session| {
        let health = session.appliance.portal.get("/health", &Credentials::None)?.json()?;
        ensure!(health["status"] == "ok", "{health}");
        Ok(())
    })
}
