//! `boosterctl power …`.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::arguments::Power;
use crate::client::{Client, Daemon};
use crate::errors::Unreachable;
use crate::table::show;

impl Power {
    /// The word the box and systemd use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Poweroff => "poweroff",
        }
    }
}

/// Restarts the box or switches it off.
pub async fn power(client: &Client, action: Power, json: bool) -> Result<()> {
    let answer = request(client, action).await?;
    show(&answer, json, |_| match action {
        Power::Reboot => "The box restarts.\n".into(),
        Power::Poweroff => "The box switches off.\n".into(),
    });
    Ok(())
}

/// Asks the monitor; on the box itself systemd is asked when the monitor does not answer, so that a
/// box in trouble can be switched off.
pub async fn request(client: &Client, action: Power) -> Result<Value> {
    let outcome = client.post(Daemon::Monitor, "/api/v1/power", &json!({"action": action.word()})).await;
    let is_this_machine = client.root().is_some_and(|root| root == std::path::Path::new("/"));
    match outcome {
        Err(error) if is_this_machine && error.is::<Unreachable>() => {
            let status = Command::new("systemctl")
                .arg(action.word())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status()
                .await
                .context("neither the monitor nor systemd answers")?;
            if !status.success() {
                bail!("{error:#} systemctl {} failed too ({status})", action.word());
            }
            Ok(json!({"accepted": true}))
        }
        other => other,
    }
}
