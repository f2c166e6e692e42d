//! `boosterctl config check`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::show;
use crate::client::Client;
use crate::errors::Usage;
use crate::table::cell;

/// The daemons that have a configuration.
const DAEMONS: [&str; 3] = ["agent", "monitor", "worker"];

/// Has every daemon check its own configuration.
pub fn check(client: &Client, json: bool) -> Result<ExitCode> {
    let root =
        client.root().ok_or_else(|| Usage("the files of another box cannot be checked from here".into()))?;
    let checked: Vec<Value> = DAEMONS.iter().map(|daemon| check_one(daemon, root)).collect::<Result<_>>()?;
    let good = checked.iter().all(|entry| entry["ok"] == true);
    show(&json!({"daemons": checked}), json, |_| checked.iter().map(line).collect());
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
