//! `boosterctl config check`: the daemons' configuration, and the owner's settings.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use actionbooster_settings::{Settings, TimeZoneError};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::client::Client;
use crate::errors::Usage;
use crate::table::{cell, show};

/// The daemons that have a configuration.
const DAEMONS: [&str; 3] = ["agent", "monitor", "worker"];

/// Has every daemon check its own configuration, and checks the settings.
pub fn check(client: &Client, json: bool) -> Result<ExitCode> {
    let root =
        client.root().ok_or_else(|| Usage("the files of another box cannot be checked from here".into()))?;
    let checked: Vec<Value> = DAEMONS.iter().map(|daemon| check_one(daemon, root)).collect::<Result<_>>()?;
    let settings = check_settings(root)?;
    let good = checked.iter().chain([&settings]).all(|entry| entry["ok"] == true);
    let text = |_: &Value| checked.iter().map(line).chain([settings_line(&settings)]).collect();
    show(&json!({"daemons": checked, "settings": settings}), json, text);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_one(daemon: &str, root: &Path) -> Result<Value> {
    let program = program(daemon, root);
    let output = Command::new(&program)
        .arg("--config-check")
        .env("ACTIONBOOSTER_ROOT", root)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let ok = output.status.success();
    let words = if ok { output.stdout } else { output.stderr };
    Ok(json!({"daemon": daemon, "ok": ok, "detail": String::from_utf8_lossy(&words).trim()}))
}

/// What in `settings.toml` cannot be used. A missing file is in order: everything is as it comes.
fn check_settings(root: &Path) -> Result<Value> {
    let path = root.join("var/lib/actionbooster/settings/settings.toml");
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let (settings, faults) = Settings::read(&text, &Settings::default());
    let mut words: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let database = root.join("usr/share/zoneinfo");
    if database.is_dir() && !settings.time_zone.is_known(&database) {
        words.push(format!("time_zone: {}", TimeZoneError::Unknown));
    }
    Ok(json!({"file": path.display().to_string(), "ok": words.is_empty(), "faults": words}))
}

fn settings_line(entry: &Value) -> String {
    let faults = entry["faults"].as_array().map(Vec::as_slice).unwrap_or_default();
    if faults.is_empty() {
        return "settings: ok\n".into();
    }
    faults.iter().map(|fault| format!("settings: {}: {}\n", cell(&entry["file"]), cell(fault))).collect()
}

/// Programs of one installation lie together.
fn program(daemon: &str, root: &Path) -> PathBuf {
    let name = format!("booster-{daemon}");
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(&name)));
    beside.filter(|path| path.exists()).unwrap_or_else(|| root.join("usr/bin").join(name))
}

fn line(entry: &Value) -> String {
    match entry["ok"].as_bool() {
        Some(true) => format!("{}: ok\n", cell(&entry["daemon"])),
        _ => format!("{}: {}\n", cell(&entry["daemon"]), cell(&entry["detail"])),
    }
}
