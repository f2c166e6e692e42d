//! The owner: claim, reset, password, who is asking.

use std::io::Read;

use actionbooster_settings::account::SHORTEST_PASSWORD;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::arguments::Owner;
use crate::client::{Client, Daemon};
use crate::errors::Usage;
use crate::prompt;
use crate::table::{cell, pairs, show};

/// Makes the caller the owner.
pub async fn claim(
    client: &Client,
    name: &str,
    code: Option<String>,
    from_stdin: bool,
    json: bool,
) -> Result<()> {
    let code = match code {
        Some(code) => code,
        None => prompt::line("Claim code on the box's screen: ")?,
    };
    let password = prompt::new_password(&new("Password of the owner"), from_stdin)?;
    let body = json!({"code": code, "name": name, "password": password});
    let answer = client.post(Daemon::Monitor, "/api/v1/claim", &body).await?;
    show(&answer, json, |answer| {
        format!("{} owns this box now. Log in to the portal.\n", cell(&answer["owner"]["name"]))
    });
    Ok(())
}

/// The question for a new password.
fn new(what: &str) -> String {
    format!("{what}, at least {SHORTEST_PASSWORD} characters: ")
}

/// Says who is asking.
pub async fn whoami(client: &Client, json: bool) -> Result<()> {
    let answer = client.get(Daemon::Monitor, "/api/v1/session").await?;
    show(&answer, json, |answer| {
        pairs(&[
            ("owner", cell(&answer["owner"]["name"])),
            ("via", cell(&answer["via"])),
            ("may", cell(&answer["scopes"])),
        ])
    });
    Ok(())
}

/// `boosterctl owner …`.
pub async fn owner(client: &Client, command: Owner, json: bool) -> Result<()> {
    match command {
        Owner::Reset { yes, keep_keys } => {
            let keys = if keep_keys {
                "The keys of programs and of SSH stay."
            } else {
                "The keys of programs and of SSH are revoked; --keep-keys keeps them."
            };
            let question = format!(
                "The owner's name, password and sessions are forgotten. {keys} Type reset to go on: "
            );
            if !yes && prompt::line(&question)? != "reset" {
                return Err(Usage("nothing was changed".into()).into());
            }
            let answer = reset(client, keep_keys).await?;
            show(&answer, json, after_reset);
        }
        Owner::Password { password_stdin } => {
            let (current, new) = passwords(password_stdin)?;
            let body = json!({"current": current, "new": new});
            let answer = client.post(Daemon::Monitor, "/api/v1/password", &body).await?;
            show(&answer, json, |_| "The password is changed. Other sessions have ended.\n".into());
        }
        Owner::RecoveryKey { password } => {
            let is_console = client.root().is_some();
            let body = if is_console {
                json!({})
            } else {
                json!({"password": prompt::password("Password: ", password.password_stdin)?})
            };
            let answer = client.post(Daemon::Monitor, "/api/v1/recovery-key", &body).await?;
            show(&answer, json, |answer| format!("{}\n", cell(&answer["recovery_key"])));
        }
    }
    Ok(())
}

/// Forgets the owner, and the keys unless they are to stay; the answer holds the new claim code.
pub async fn reset(client: &Client, keep_keys: bool) -> Result<Value> {
    client.post(Daemon::Monitor, "/api/v1/owner/reset", &json!({"keep_keys": keep_keys})).await
}

/// Why SSH may still accept keys after a reset that revokes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshTrouble {
    /// The settings that name them cannot be read.
    Damaged,
    /// They are gone from the settings, which are not applied yet.
    Pending,
}

/// Whether SSH needs the owner's attention after a reset.
pub fn ssh_trouble(answer: &Value) -> Option<SshTrouble> {
    if answer["keys_kept"] == true || answer["applied"] == true {
        return None;
    }
    let damaged = answer["revoked"]["ssh_keys"].is_null();
    Some(if damaged { SshTrouble::Damaged } else { SshTrouble::Pending })
}

fn after_reset(answer: &Value) -> String {
    let revoked = &answer["revoked"];
    let keys = if answer["keys_kept"] == true {
        "The keys of programs and of SSH are as they were.".into()
    } else {
        let [api, ssh] = ["api_keys", "ssh_keys"].map(|kind| revoked[kind].as_u64().unwrap_or(0));
        format!("Revoked: {api} keys of programs, {ssh} of SSH.")
    };
    let trouble = match ssh_trouble(answer) {
        None => "",
        Some(SshTrouble::Damaged) => {
            "The settings are damaged, so SSH keys stay: restart, and choose the factory reset that keeps models.\n"
        }
        Some(SshTrouble::Pending) => "Restart the box: until then SSH accepts the old keys.\n",
    };
    let code = cell(&answer["claim_code"]);
    format!("The box has no owner. Claim it in the portal with the code {code}\n{keys}\n{trouble}")
}

fn passwords(from_stdin: bool) -> Result<(String, String)> {
    if !from_stdin {
        let current = prompt::password("Current password: ", false)?;
        return Ok((current, prompt::new_password(&new("New password"), false)?));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    let mut lines = text.lines().map(str::to_owned);
    match (lines.next(), lines.next()) {
        (Some(current), Some(new)) => Ok((current, new)),
        _ => Err(Usage("write the current password and the new one, a line each".into()).into()),
    }
}
