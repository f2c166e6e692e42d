//! The firewall: closed from outside, closed to the outside until online mode is on.

use std::process::Stdio;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Session, contains, until};
use crate::builder::Builder;
use crate::qemu::{FAR_ADDRESS, Vm};
use crate::test::Tally;

/// Ports that must not answer from outside, and where this host reaches for them.
pub const CLOSED: &[(u16, u16)] =
    &[(20500, 5000), (20501, 5001), (20502, 7001), (20503, 4222), (20504, 9090), (20505, 8080)];
/// How long a connection that nobody answers is watched.
const SILENCE: &str = "3";

pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    tally.check("the firewall is as planned", planned(&session.shell("sudo ufw status verbose")?));
    tally.check(
        "the firewall covers IPv6",
        contains(&session.shell("sudo ip6tables -S INPUT")?, "-P INPUT DROP"),
    );
    let far = format!("timeout 30 bash -c 'exec 3<>/dev/tcp/{FAR_ADDRESS}/80 && cat <&3' 2>&1; true");
    tally.check("an address beyond the LAN is refused while offline", refused(&session.shell(&far)?));
    tally.check("online mode lets it through", online(session, &far));
    Ok(())
}

/// QEMU accepts the connection itself, so a closed port shows as one on which nothing is ever said.
pub fn closed_outside(builder: &Builder, vm: &Vm) -> Result<()> {
    let ssh = (vm.forwards().ssh, 22);
    for (host, guest) in CLOSED.iter().copied().chain([ssh]) {
        let mut command = builder.command(&[
            "curl",
            "-s",
            "--max-time",
            SILENCE,
            "--output",
            "-",
            &format!("telnet://127.0.0.1:{host}"),
        ]);
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(output.stdout.is_empty(), "port {guest} says {:?}", String::from_utf8_lossy(&output.stdout));
        let answer = builder
            .command(&["curl", "-s", "--max-time", SILENCE, "-i", &format!("http://127.0.0.1:{host}/")])
            .stdin(Stdio::null())
            .output()?;
        ensure!(answer.stdout.is_empty(), "port {guest} answers HTTP");
    }
    Ok(())
}

fn planned(status: &str) -> Result<()> {
    contains(status, "Status: active")?;
    contains(status, "deny (incoming), reject (outgoing)")
        .or_else(|_| contains(status, "deny (incoming), deny (outgoing)"))?;
    for port in ["80/tcp", "443/tcp", "22/tcp"] {
        let allowed = status.lines().any(|line| line.contains(port) && line.contains("ALLOW IN"));
        ensure!(allowed, "{port} is not allowed in:\n{status}");
    }
    Ok(())
}

fn refused(output: &str) -> Result<()> {
    ensure!(!output.contains("far"), "the connection went through: {output}");
    contains(output, "refused").or_else(|_| contains(output, "prohibited"))
}

fn online(session: &mut Session, far: &str) -> Result<()> {
    let credentials = session.credentials()?;
    let switch = |session: &Session, on: bool| {
        let portal = &session.appliance.portal;
        portal.send("PATCH", "/api/v1/settings", Some(&json!({"online": on})), &credentials)?.expect(200)
    };
    switch(session, true)?;
    until(session, |session| contains(&session.shell(far)?, "far"))?;
    switch(session, false)?;
    until(session, |session| refused(&session.shell(far)?))
}
