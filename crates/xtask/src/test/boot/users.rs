//! Users of a later version reach a box whose user database was changed: it then hides the slot's.

use anyhow::{Result, ensure};

use super::{Session, contains, equal};
use crate::test::Tally;

/// A user of ours, as a later version would bring one, with its number and a group it is in.
const USER: &str = "booster-worker";
const IDENTITY: &str = "uid=813(booster-worker) gid=813(booster-worker)";

pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    hide(session)?;
    let shell = |script: &str| session.shell(script);
    tally.check(
        "a user that the database hides is missing",
        missing(&shell(&format!("id {USER} 2>&1; true"))?),
    );
    shell("sudo systemctl restart systemd-sysusers.service")?;
    tally.check("systemd-sysusers adds it with its number and groups", is_back(session));
    let own = shell("getent passwd privileges-own | cut -d: -f3")?;
    tally.check("who was added on the box stays, with a number that no version will use", below(&own));
    shell(&format!("sudo systemctl restart {USER}.service"))?;
    tally
        .check("its daemon starts", equal(&shell(&format!("systemctl is-active {USER}.service"))?, "active"));
    tally.check("the report tells what /etc hides", told(session));
    Ok(())
}

/// Makes the box's user database as an older version of the image would have left it.
pub fn hide(session: &Session) -> Result<()> {
    let script = format!(
        "getent passwd privileges-own || sudo useradd --system privileges-own
         sudo sed -i -e '/^{USER}:/d' -e 's/,{USER}//' -e 's/:{USER},/:/' \
             /etc/passwd /etc/group /etc/shadow /etc/gshadow"
    );
    session.shell(&script).map(drop)
}

/// Whether the user is there as the image defines it.
pub fn is_back(session: &Session) -> Result<()> {
    let identity = session.shell(&format!("id {USER}"))?;
    contains(&identity, IDENTITY)?;
    for group in ["(actionbooster)", "(booster-auth)", "(booster-models)"] {
        contains(&identity, group)?;
    }
    Ok(())
}

/// Numbers from here on are given out by the image (see systemd/*/sysusers.conf).
fn below(number: &str) -> Result<()> {
    const FIRST_OF_IMAGE: u32 = 700;
    let number: u32 = number.trim().parse()?;
    ensure!(number < FIRST_OF_IMAGE, "the number is {number}");
    Ok(())
}

fn missing(answer: &str) -> Result<()> {
    ensure!(answer.contains("no such user"), "{answer}");
    Ok(())
}

/// A file of the slot that was changed is in the report, and the databases that are merged are not.
fn told(session: &Session) -> Result<()> {
    session.shell("echo '# changed' | sudo tee -a /etc/nginx/mime.types > /dev/null")?;
    session.shell("sudo systemctl restart booster-provisioner.service")?;
    let hidden = session.provisioning()?["hidden_in_etc"].clone();
    ensure!(hidden == serde_json::json!(["nginx/mime.types"]), "hidden_in_etc is {hidden}");
    contains(&session.shell("sudo boosterctl provisioning")?, "/etc/nginx/mime.types")
}
