//! What the web shows to strangers and to the owner.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Session, contains, firewall};
use crate::appliance::Appliance;
use crate::builder::Builder;
use crate::http::Credentials;
use crate::qemu::Vm;
use crate::test::Tally;

/// What holds before anybody has claimed the box.
pub fn unclaimed(builder: &Builder, vm: &Vm, appliance: &Appliance, tally: &mut Tally) {
    tally.check("plain HTTP leads to HTTPS", redirects(appliance));
    tally.check("nothing but the web answers from outside", firewall::closed_outside(builder, vm));
    tally.check("a wrong claim code is refused", wrong_code(appliance));
}

#[expect(clippy::unnecessary_wraps, reason = "every section may break off")]
pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    let appliance = &session.appliance;
    tally.check("a claimed box cannot be claimed again", claimed_twice(appliance, &session.claim_code));
    tally.check("/query refuses a request without a key", refused_without_key(appliance));
    tally.check("/query answers through nginx with a key", session.answers());
    Ok(())
}

fn redirects(appliance: &Appliance) -> Result<()> {
    let answer = appliance.plain.get("/", &Credentials::None)?;
    ensure!((300..400).contains(&answer.status), "status {}", answer.status);
    contains(answer.header("location").unwrap_or_default(), "https://")
}

fn wrong_code(appliance: &Appliance) -> Result<()> {
    let claim = json!({"code": "AAAA-AAAA", "name": "thief", "password": "long enough to pass"});
    appliance.portal.post("/api/v1/claim", &claim, &Credentials::None)?.expect(403).map(drop)
}

fn claimed_twice(appliance: &Appliance, code: &str) -> Result<()> {
    let claim = json!({"code": code, "name": "second", "password": "long enough to pass"});
    appliance.portal.post("/api/v1/claim", &claim, &Credentials::None)?.expect(409).map(drop)
}

fn refused_without_key(appliance: &Appliance) -> Result<()> {
    let question = json!({"prompt": "What is online mode?"});
    appliance.portal.post("/query", &question, &Credentials::None)?.expect(401)?;
    let invented = Credentials::Key(format!("ab_{}", "x".repeat(40)));
    appliance.portal.post("/query", &question, &invented)?.expect(401).map(drop)
}
