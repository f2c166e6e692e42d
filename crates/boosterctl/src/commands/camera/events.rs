//! `boosterctl camera events`.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use tokio::time::timeout;

use super::time;
use crate::client::{Client, Daemon};
use crate::sse::{Event, Parser};
use crate::table::{cell, plain};

const PATH: &str = "/api/v1/events";
/// The box says something every 15 seconds; after this long without a word the connection is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// What tells only that a camera runs.
const ALIVE: &str = "ai.keepalive";

/// Prints what cameras tell, a line each, until the program is interrupted.
pub async fn follow(client: &Client, camera: Option<&str>, all: bool, json: bool) -> Result<()> {
    let mut answer = client.stream(Daemon::Agent, PATH, None).await?;
    let mut parser = Parser::default();
    let mut output = std::io::stdout().lock();
    while let Some(bytes) =
        timeout(SILENCE, answer.next()).await.context("the box says nothing any more")??
    {
        for event in parser.push(&bytes) {
            if let Some(line) = line(&event, camera, all, json)? {
                writeln!(output, "{line}")?;
                output.flush()?;
            }
        }
    }
    Err(anyhow!("the box ended the events; start this again"))
}

/// The line of an event; none when it is not asked for.
fn line(event: &Event, camera: Option<&str>, all: bool, json: bool) -> Result<Option<String>> {
    let ours = event.name.starts_with("ai.") || event.name.starts_with("camera.") || event.name == "missed";
    if !ours || (event.name == ALIVE && !all) {
        return Ok(None);
    }
    let about: Value =
        serde_json::from_str(&event.data).context("the box sent something that is not JSON")?;
    if event.name != "missed" && camera.is_some_and(|camera| about["camera"] != camera) {
        return Ok(None);
    }
    if json {
        return Ok(Some(about.to_string()));
    }
    let said = words(&event.name, &about);
    let line = [time(&about["at"]), cell(&about["camera"]), said].map(|part| plain(&part).replace('\n', " "));
    Ok(Some(line.join("  ").trim_start().to_owned()))
}

fn words(name: &str, about: &Value) -> String {
    let session = cell(&about["session"]);
    match name {
        "ai.detection" => {
            let seen = about["detections"].as_array().map(Vec::as_slice).unwrap_or_default();
            let one = |seen: &Value| {
                format!("{} {:.2}", cell(&seen["label"]), seen["score"].as_f64().unwrap_or_default())
            };
            format!("sees {}", seen.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        "ai.session_started" => format!("session {session} begins"),
        "ai.session_ended" => format!("session {session} ends: {}", cell(&about["reason"])),
        "camera.lost" => format!("the {} is lost: {}", cell(&about["part"]), cell(&about["reason"])),
        "camera.back" => format!("the {} is back", cell(&about["part"])),
        "camera.recording_stopped" => format!("recording stopped: {}", cell(&about["reason"])),
        ALIVE => format!(
            "is {}; source {}, detector {}",
            cell(&about["state"]),
            cell(&about["source"]["state"]),
            cell(&about["detector"]["state"])
        ),
        "missed" => format!("{} events were missed: they came too quickly", cell(&about["missed"])),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(name: &str, about: &Value, camera: Option<&str>, all: bool) -> Option<String> {
        let event = Event { name: name.into(), data: about.to_string() };
        line(&event, camera, all, false).expect("JSON")
    }

    #[test]
    fn every_event_of_a_camera_is_a_line() {
        let at = "2026-11-21T14:03:05.5Z";
        let seen = json!({"at": at, "camera": "door", "detections": [
            {"label": "person", "score": 0.914}, {"label": "dog\u{1b}[2J\n", "score": 0.5}]});
        for (name, about, expected) in [
            ("ai.detection", seen, "door  sees person 0.91, dog [2J  0.50"),
            (
                "ai.session_started",
                json!({"at": at, "camera": "door", "session": "s"}),
                "door  session s begins",
            ),
            (
                "ai.session_ended",
                json!({"at": at, "camera": "door", "session": "s", "reason": "silence"}),
                "door  session s ends: silence",
            ),
            (
                "camera.lost",
                json!({"at": at, "camera": "door", "part": "source", "reason": "no route"}),
                "door  the source is lost: no route",
            ),
            (
                "camera.back",
                json!({"at": at, "camera": "door", "part": "source"}),
                "door  the source is back",
            ),
        ] {
            let expected = format!("2026-11-21 14:03:05Z  {expected}");
            assert_eq!(shown(name, &about, None, false), Some(expected));
            assert_eq!(shown(name, &about, Some("yard"), false), None, "another camera's");
        }
    }

    #[test]
    fn what_nobody_asked_for_is_left_out() {
        let alive = json!({"camera": "door", "state": "idle", "source": {"state": "live"}, "detector": {"state": "ready"}});
        assert_eq!(shown(ALIVE, &alive, None, false), None);
        let all = shown(ALIVE, &alive, Some("door"), true).expect("asked for");
        assert!(all.ends_with("is idle; source live, detector ready"), "{all}");
        assert_eq!(shown("model.loaded", &json!({"model": "guide"}), None, true), None);
        let missed = shown("missed", &json!({"missed": 7}), Some("door"), false).expect("told to everyone");
        assert!(
            missed.starts_with("7 events were missed") || missed.contains("7 events were missed"),
            "{missed}"
        );
        let event = Event { name: "ai.detection".into(), data: "{".into() };
        assert!(line(&event, None, false, false).is_err());
    }
}
