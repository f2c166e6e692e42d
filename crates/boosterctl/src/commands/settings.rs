//! `boosterctl settings …`.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use hyper::Method;
use serde_json::{Map, Value, json};

use crate::arguments::{Change, Settings};
use crate::client::{Client, Daemon};
use crate::table::{cell, pairs, plain, show};

const PATH: &str = "/api/v1/settings";

/// Runs one of the commands on settings.
pub async fn run(client: &Client, command: Settings, json: bool) -> Result<()> {
    match command {
        Settings::Get => show(&client.get(Daemon::Monitor, PATH).await?, json, text),
        Settings::Set(Change { online, hostname, time_zone, ssh_keys }) => {
            let mut change = Map::new();
            if let Some(online) = online {
                change.insert("online".into(), online.into());
            }
            if let Some(hostname) = hostname {
                change.insert("hostname".into(), hostname.into());
            }
            if let Some(zone) = time_zone {
                change.insert("time_zone".into(), zone.into());
            }
            if let Some(file) = ssh_keys {
                change.insert("ssh_keys".into(), json!(keys(&read(&file)?)));
            }
            let change = Value::Object(change);
            let answer = client.call(Daemon::Monitor, Method::PATCH, PATH, Some(&change)).await?;
            show(&answer, json, text);
            if !json && answer["applied"] == false {
                eprintln!("Written down, and applied when the provisioner runs next.");
            }
        }
    }
    Ok(())
}

fn text(settings: &Value) -> String {
    let keys = settings["ssh_keys"].as_array().map_or(0, Vec::len);
    let mut text = pairs(&[
        ("hostname", cell(&settings["hostname"])),
        ("address", cell(&settings["mdns_name"])),
        ("online", cell(&settings["online"])),
        ("time zone", cell(&settings["time_zone"])),
        ("ssh keys", if keys == 0 { "none, so SSH is off".into() } else { keys.to_string() }),
    ]);
    let mut remark = |remark: String| {
        text.push_str(&plain(&remark));
        text.push('\n');
    };
    if let Some(taken) = settings["taken_name"].as_str() {
        remark(format!("Another device on the network is called {taken}; choose another name."));
    }
    for fault in settings["faults"].as_array().into_iter().flatten() {
        remark(format!("{} cannot be used: {}", cell(&fault["field"]), cell(&fault["detail"])));
    }
    text
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(text)
}

/// The keys of a file like `authorized_keys`.
fn keys(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[cfg(test)]
mod tests {
    use super::keys;

    #[test]
    fn comments_and_empty_lines_are_no_keys() {
        assert_eq!(
            keys("# mine\n\n ssh-ed25519 AAAA me \r\nssh-rsa BBBB\n"),
            ["ssh-ed25519 AAAA me", "ssh-rsa BBBB"]
        );
        assert!(keys("").is_empty());
    }
}
