//! `boosterctl status`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Client, Daemon};
use crate::errors::Unreachable;
use crate::table::{cell, show, table};

const PAUSE: Duration = Duration::from_secs(1);
/// The monitor gives each part two seconds; a box that takes longer to say how it is is not well.
const LIMIT: Duration = Duration::from_secs(5);

/// Shows the health; waits for it to be good when asked to.
pub async fn status(client: &Client, wait_s: Option<u64>, json: bool) -> Result<ExitCode> {
    let deadline = Instant::now() + Duration::from_secs(wait_s.unwrap_or(0));
    loop {
        let outcome = ask(client).await;
        let is_well = outcome.as_ref().is_ok_and(|report| report["status"] == "ok");
        if !is_well && Instant::now() + PAUSE <= deadline {
            sleep(PAUSE).await;
            continue;
        }
        show(&outcome?, json, text);
        return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
}

async fn ask(client: &Client) -> Result<Value> {
    let answer = timeout(LIMIT, client.get(Daemon::Monitor, "/health")).await;
    answer.map_err(|_| Unreachable("the monitor takes too long to answer".into()))?
}

fn text(report: &Value) -> String {
    let components = report["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |part: &Value| ["name", "status", "detail"].map(|field| cell(&part[field])).to_vec();
    let rows: Vec<Vec<String>> = components.iter().map(row).collect();
    format!(
        "ActionBooster {}: {}\n{}",
        cell(&report["version"]),
        cell(&report["status"]),
        table(&["PART", "STATE", "DETAIL"], &rows)
    )
}

/// The state in lines for the box's console: the word first, then each part that is not well.
pub async fn summary(client: &Client) -> Vec<String> {
    let Ok(report) = ask(client).await else {
        return vec!["starting".into()];
    };
    let components = report["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    let unwell = components.iter().filter(|part| part["status"] != "ok");
    let unwell = unwell.map(|part| format!("{}: {}", cell(&part["name"]), cell(&part["detail"])));
    std::iter::once(cell(&report["status"])).chain(unwell).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::text;

    #[test]
    fn every_part_has_a_line() {
        let report = json!({"status": "degraded", "version": "1.2.3", "components": [
            {"name": "monitor", "status": "ok", "detail": ""},
            {"name": "agent", "status": "degraded", "detail": "no model"},
        ]});
        let expected = "ActionBooster 1.2.3: degraded\nPART     STATE     DETAIL\nmonitor  ok\nagent    degraded  no model\n";
        assert_eq!(text(&report), expected);
    }
}
