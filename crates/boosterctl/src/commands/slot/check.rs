//! Whether this slot works: only what lies in the slot is asked, nothing that its owner did.
//!
//! A daemon that answers works, whatever it says of the owner's settings, models or disk. A
//! certificate that is out of date serves as well as any other: the clock may be wrong.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::time::timeout;

use crate::client::{Client, Daemon, Target};
use crate::commands::vision::selftest;
use crate::connect;
use crate::errors::Answered;

/// A page or the state of a daemon.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Loading the detector and looking twice.
const DETECTION_LIMIT: Duration = Duration::from_secs(120);
/// Of the slot that this program is in.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What does not work, in sentences.
///
/// nginx starts after everything else; until it serves, the daemons are left in peace.
pub async fn problems(client: &Client, portal: SocketAddr) -> Result<Vec<String>> {
    let nginx = connect_to(portal)?;
    if let Some(problem) = within(ANSWER_LIMIT, "nginx", page(client, &nginx)).await {
        return Ok(vec![problem]);
    }
    let mut problems = Vec::new();
    for daemon in Daemon::ALL {
        problems.extend(within(ANSWER_LIMIT, daemon.name(), version(client, daemon)).await);
    }
    if problems.is_empty() {
        problems.extend(within(DETECTION_LIMIT, "detection", detection(client)).await);
    }
    Ok(problems)
}

fn connect_to(portal: SocketAddr) -> Result<Client> {
    let (host, tls) = (portal.ip().to_string(), Some(connect::any_certificate()?));
    Ok(Client::new(Target::Remote { host, port: portal.port(), tls }, None))
}

async fn within(limit: Duration, what: &str, ask: impl Future<Output = Option<String>>) -> Option<String> {
    let late = || Some(format!("{what} takes longer than {} s", limit.as_secs()));
    timeout(limit, ask).await.unwrap_or_else(|_| late())
}

/// The portal, over TLS; with a damaged data partition, the page that says so.
async fn page(client: &Client, nginx: &Client) -> Option<String> {
    let is_damaged = client.root().is_some_and(|root| root.join("run/actionbooster/data-damaged").exists());
    // Any daemon's requests go through nginx, and this path is nginx's own.
    match nginx.get_page(Daemon::Monitor, "/").await {
        Ok(page) if String::from_utf8_lossy(&page).to_ascii_lowercase().contains("<html") => None,
        Ok(_) => Some("nginx serves something else than the portal".into()),
        Err(error) => match error.downcast_ref::<Answered>() {
            Some(answered) if answered.status == 503 && is_damaged => None,
            _ => Some(format!("nginx does not serve the portal: {error:#}")),
        },
    }
}

/// Any answer will do that is from this version.
async fn version(client: &Client, daemon: Daemon) -> Option<String> {
    let name = daemon.name();
    let said = match client.get(daemon, "/health").await {
        Ok(body) => body,
        Err(error) => match error.downcast::<Answered>() {
            Ok(answered) => answered.body,
            Err(error) => return Some(format!("the {name} does not answer: {error:#}")),
        },
    };
    match said["version"].as_str() {
        Some(VERSION) => None,
        Some(other) => Some(format!("the {name} is of version {other}, this slot of {VERSION}")),
        None => Some(format!("the {name} answers without saying its version")),
    }
}

async fn detection(client: &Client) -> Option<String> {
    let problems = match selftest::examine(client).await {
        Ok(report) => report["problems"].as_array().cloned().unwrap_or_default(),
        Err(error) => return Some(format!("{error:#}")),
    };
    let words: Vec<&str> = problems.iter().filter_map(Value::as_str).collect();
    (!words.is_empty()).then(|| format!("detection finds the wrong things: {}", words.join("; ")))
}
