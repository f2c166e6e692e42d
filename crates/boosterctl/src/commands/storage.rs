//! `boosterctl storage …`.

use std::fmt::Write;

use anyhow::Result;
use clap::ValueEnum;
use hyper::Method;
use serde_json::Value;

use crate::arguments::Storage;
use crate::client::{Client, Daemon, is_id};
use crate::errors::Usage;
use crate::table::{bytes, cell, pairs, plain, show, table};

/// In the place of an account: the files of conversations that were damaged.
const DAMAGED: &str = "damaged";
/// Things of one kind that are listed at most.
const MOST: usize = 20;

/// Runs one of the commands on the space of the disk.
pub async fn run(client: &Client, command: Option<Storage>, json: bool) -> Result<()> {
    let (daemon, path) = match command.unwrap_or(Storage::Show) {
        Storage::Show => {
            let storage = client.get(Daemon::Monitor, "/api/v1/storage").await?;
            show(&storage, json, text);
            return Ok(());
        }
        Storage::DeleteRecordings { camera, older_than_days } => {
            if !is_id(&camera) {
                return Err(Usage(format!("{camera:?} is no camera; `boosterctl storage` lists them")).into());
            }
            let path = format!("/api/v1/cameras/{camera}/sessions?older_than_days={older_than_days}");
            (Daemon::Agent, path)
        }
        Storage::DeleteGenerated { kind } => {
            let kind = kind.and_then(|kind| kind.to_possible_value());
            let query = kind.map_or(String::new(), |kind| format!("?kind={}", kind.get_name()));
            (Daemon::Agent, format!("/api/v1/assets{query}"))
        }
        Storage::DeleteConversations { account } if account == DAMAGED => {
            (Daemon::Agent, "/api/v1/conversations/damaged".to_owned())
        }
        Storage::DeleteConversations { account } => {
            if !account.split(':').all(is_id) {
                let hint = format!("{account:?} is no account; `boosterctl storage` lists them");
                return Err(Usage(hint).into());
            }
            (Daemon::Agent, format!("/api/v1/conversations?account={account}"))
        }
        Storage::DeleteDetections => (Daemon::Worker, "/api/v1/detectors/records".to_owned()),
    };
    let answer = client.call(daemon, Method::DELETE, &path, None).await?;
    show(&answer, json, |answer| format!("{} deleted\n", cell(&answer["removed"])));
    Ok(())
}

fn text(storage: &Value) -> String {
    let inodes = &storage["inodes"];
    let forecast = storage["forecast"]["full_in_s"].as_u64().map(days);
    let mut text = pairs(&[
        ("state", cell(&storage["level"])),
        ("", cell(&storage["detail"])),
        ("trouble", cell(&storage["trouble"])),
        ("size", bytes(&storage["total_bytes"])),
        ("used", bytes(&storage["used_bytes"])),
        ("free", bytes(&storage["free_bytes"])),
        ("writing stops at", bytes(&storage["floor_bytes"])),
        ("kept for the system", bytes(&storage["reserved_bytes"])),
        ("files", format!("{} more of {}", cell(&inodes["free"]), cell(&inodes["total"]))),
        ("full in", forecast.unwrap_or_default()),
    ]);
    let mut rows = Vec::new();
    for part in list(&storage["parts"]) {
        let more = if part["partly"] == true { ", and more" } else { "" };
        rows.push(row(&cell(&part["kind"]), "", part, more, ""));
        let items = list(&part["items"]);
        rows.extend(
            items
                .iter()
                .take(MOST)
                .map(|item| row("", &cell(&item["name"]), item, "", &freed_by(part, item))),
        );
        if items.len() > MOST {
            rows.push(vec![String::new(), format!("and {} more", items.len() - MOST)]);
        }
    }
    text.push('\n');
    text.push_str(&table(&["WHAT", "NAME", "SIZE", "FILES", "FREED BY"], &rows));
    for daemon in list(&storage["silent"]) {
        // Writing to a string cannot fail.
        _ = writeln!(text, "the {} does not tell what it keeps", plain(&cell(daemon)));
    }
    text
}

fn row(kind: &str, name: &str, of: &Value, more: &str, free: &str) -> Vec<String> {
    vec![kind.into(), name.into(), format!("{}{more}", bytes(&of["bytes"])), cell(&of["files"]), free.into()]
}

/// The command that frees what a thing takes.
fn freed_by(part: &Value, item: &Value) -> String {
    let id = cell(&item["id"]);
    match part["kind"].as_str() {
        Some("models") => format!("boosterctl model remove {id}"),
        Some("recordings") => format!("boosterctl storage delete-recordings {id} --older-than-days 30"),
        Some("assets") => format!("boosterctl storage delete-generated --kind {id}"),
        Some("conversations") => format!("boosterctl storage delete-conversations {id}"),
        Some("detections") => "boosterctl storage delete-detections".to_owned(),
        _ => String::new(),
    }
}

fn days(seconds: u64) -> String {
    match seconds / 3600 {
        hours @ 0..48 => format!("{hours} hours at the present rate"),
        hours => format!("{} days at the present rate", hours / 24),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_tells_what_takes_space_and_how_it_is_freed() {
        let storage = json!({
            "level": "low", "detail": "the disk has little left", "trouble": null,
            "total_bytes": 5_u64 << 30, "used_bytes": 4_u64 << 30, "free_bytes": 400 << 20,
            "floor_bytes": 256 << 20, "reserved_bytes": 256 << 20,
            "inodes": {"total": 1000, "free": 900, "floor": 20},
            "forecast": {"full_in_s": 7200, "bytes_per_day": 1},
            "parts": [
                {"kind": "recordings", "bytes": 3_u64 << 30, "files": 12, "partly": true, "items": [
                    {"id": "door", "name": "Front door", "bytes": 3_u64 << 30, "files": 12},
                ]},
                {"kind": "system", "bytes": 1_u64 << 30, "files": 0, "partly": false, "items": []},
            ],
            "silent": ["worker"],
        });
        let text = text(&storage);
        for line in [
            "state                low",
            "full in              2 hours at the present rate",
            "recordings              3.0 GiB, and more  12",
            "Front door  3.0 GiB            12     boosterctl storage delete-recordings door --older-than-days 30",
            "the worker does not tell what it keeps",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}
