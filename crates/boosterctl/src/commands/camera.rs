//! `boosterctl camera …`.

mod change;
mod events;
mod source;

use actionbooster_storage::atomic;
use anyhow::{Context, Result};
use hyper::Method;
use serde_json::{Map, Value, json};

use crate::arguments::Camera;
use crate::client::{Client, Daemon, is_id};
use crate::errors::Usage;
use crate::table::{cell, pairs, show, table};

const PATH: &str = "/api/v1/cameras";
/// What the box tells of a camera besides its settings.
const STATE: [&str; 6] = ["running", "state", "source_state", "detector", "session", "recording_stopped"];

/// Runs one of the commands on cameras.
pub async fn run(client: &Client, command: Camera, json: bool) -> Result<()> {
    match command {
        Camera::List => show(&client.get(Daemon::Agent, PATH).await?, json, list),
        Camera::Show { id } => show(&client.get(Daemon::Agent, &of(&id)?).await?, json, described),
        Camera::Add { id, place, opening, model, options, disabled } => {
            let source = source::of(&place, &opening)?.ok_or_else(|| {
                Usage("say where its pictures come from, such as --rtsp rtsp://user@host/".into())
            })?;
            let mut camera = Map::from_iter([
                ("id".to_owned(), json!(id)),
                ("source".to_owned(), source),
                ("model".to_owned(), json!(model)),
                ("enabled".to_owned(), json!(!disabled)),
            ]);
            camera.extend(change::wanted(&options)?);
            let made = client.post(Daemon::Agent, PATH, &Value::Object(camera)).await?;
            show(&made, json, |made| format!("{id} was added.\n{}", described(made)));
        }
        Camera::Set { id, place, opening, model, options } => {
            let mut wanted = change::wanted(&options)?;
            if let Some(source) = source::of(&place, &opening)? {
                wanted.insert("source".into(), source);
            }
            if let Some(model) = model {
                wanted.insert("model".into(), json!(model));
            }
            if wanted.is_empty() {
                return Err(Usage("say what to change; see boosterctl camera set --help".into()).into());
            }
            show(&change(client, &id, wanted).await?, json, described);
        }
        Camera::Enable { id } => {
            let camera = change(client, &id, enabled(true)).await?;
            show(&camera, json, |_| format!("{id} is on.\n"));
        }
        Camera::Disable { id } => {
            let camera = change(client, &id, enabled(false)).await?;
            show(&camera, json, |_| format!("{id} is off.\n"));
        }
        Camera::Remove { id } => {
            client.call(Daemon::Agent, Method::DELETE, &of(&id)?, None).await?;
            show(&json!({"removed": id}), json, |_| format!("{id} is removed; its sessions stay.\n"));
        }
        Camera::Sessions { id } => {
            let sessions = client.get(Daemon::Agent, &format!("{}/sessions", of(&id)?)).await?;
            show(&sessions, json, sessions_of);
        }
        Camera::Session { id, session } => {
            if !is_id(&session) {
                return Err(
                    Usage(format!("{session:?} is no session; see boosterctl camera sessions {id}")).into()
                );
            }
            let told = client.get(Daemon::Agent, &format!("{}/sessions/{session}", of(&id)?)).await?;
            show(&told, json, session_of);
        }
        Camera::Events { id, all } => {
            if let Some(id) = &id {
                // A camera that is not there would never see anything.
                client.get(Daemon::Agent, &of(id)?).await?;
            }
            events::follow(client, id.as_deref(), all, json).await?;
        }
        Camera::Snapshot { id, file } => {
            let picture = client.get_jpeg(Daemon::Agent, &format!("{}/snapshot", of(&id)?)).await?;
            atomic::write(&file, &picture).with_context(|| format!("cannot write {}", file.display()))?;
            let told = json!({"file": file, "size_bytes": picture.len()});
            show(&told, json, |_| format!("What {id} sees is in {}.\n", file.display()));
        }
    }
    Ok(())
}

fn of(id: &str) -> Result<String> {
    if !is_id(id) {
        return Err(Usage(format!("{id:?} is no name of a camera; see boosterctl camera list")).into());
    }
    Ok(format!("{PATH}/{id}"))
}

fn enabled(enabled: bool) -> Map<String, Value> {
    Map::from_iter([("enabled".to_owned(), json!(enabled))])
}

/// Sends a camera back as the box tells it, with some of its settings changed.
async fn change(client: &Client, id: &str, wanted: Map<String, Value>) -> Result<Value> {
    let path = of(id)?;
    let mut camera = client.get(Daemon::Agent, &path).await?;
    let settings = camera.as_object_mut().context("the box tells no settings of the camera")?;
    settings.retain(|name, _| !STATE.contains(&name.as_str()));
    settings.extend(wanted);
    client.call(Daemon::Agent, Method::PUT, &path, Some(&camera)).await
}

fn list(answer: &Value) -> String {
    let cameras = answer["cameras"].as_array().map(Vec::as_slice).unwrap_or_default();
    if cameras.is_empty() {
        return "There are no cameras. Add one: boosterctl camera add ID --rtsp URL --model ID\n".into();
    }
    let row = |camera: &Value| {
        vec![
            cell(&camera["id"]),
            state(camera),
            place(&camera["source"]),
            cell(&camera["model"]),
            cell(&camera["session"]),
            cell(&camera["name"]),
        ]
    };
    let head = ["ID", "STATE", "SOURCE", "MODEL", "SESSION", "NAME"];
    table(&head, &cameras.iter().map(row).collect::<Vec<_>>())
}

/// In a word or two how a camera stands: what is wrong goes first.
fn state(camera: &Value) -> String {
    if camera["running"] != true {
        return "off".into();
    }
    let parts = [("source", &camera["source_state"]), ("detector", &camera["detector"])];
    for (part, state) in parts {
        match state["state"].as_str() {
            None => return "starting".into(),
            Some("live" | "ready") => {}
            Some(other) => return format!("{part} {other}"),
        }
    }
    cell(&camera["state"])
}

/// The address, device or path of a source.
fn place(source: &Value) -> String {
    ["url", "device", "path"].map(|field| cell(&source[field])).concat()
}

fn described(camera: &Value) -> String {
    let or_all = |list: &Value| if cell(list).is_empty() { "all".to_owned() } else { cell(list) };
    let seconds = |field: &str| format!("{:.1} s", camera[field].as_f64().unwrap_or_default() / 1e3);
    let masks = camera["masks"].as_array().map_or(0, Vec::len);
    pairs(&[
        ("id", cell(&camera["id"])),
        ("name", cell(&camera["name"])),
        ("state", state(camera)),
        ("source", format!("{} {}", cell(&camera["source"]["kind"]), place(&camera["source"]))),
        ("why not", cell(&camera["source_state"]["reason"])),
        ("model", cell(&camera["model"])),
        ("detector", cell(&camera["detector"]["state"])),
        ("why not", cell(&camera["detector"]["reason"])),
        ("classes", or_all(&camera["classes"])),
        ("threshold", camera["threshold"].as_f64().map(|score| format!("{score:.2}")).unwrap_or_default()),
        ("masks", if masks == 0 { String::new() } else { masks.to_string() }),
        (
            "frames",
            format!("{} a second, {} in a session", cell(&camera["fps_idle"]), cell(&camera["fps_active"])),
        ),
        ("session", cell(&camera["session"])),
        ("begins after", seconds("dwell_ms")),
        ("ends after", format!("{} of silence and {}", seconds("silence_ms"), seconds("post_roll_ms"))),
        (
            "clips",
            if camera["record"] == true {
                format!("yes, from {} before", seconds("pre_roll_ms"))
            } else {
                "no".into()
            },
        ),
    ])
}

fn sessions_of(answer: &Value) -> String {
    let sessions = answer["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if sessions.is_empty() {
        return "There are no sessions.\n".into();
    }
    let row = |session: &Value| {
        let seen = session["classes"].as_object().into_iter().flatten();
        let seen: Vec<&str> = seen.map(|(class, _)| class.as_str()).collect();
        vec![
            cell(&session["session"]),
            time(&session["began"]),
            if session["ended"].is_null() { "goes on".into() } else { time(&session["ended"]) },
            seen.join(", "),
            if session["clip"].is_null() { String::new() } else { "clip".into() },
        ]
    };
    table(&["SESSION", "BEGAN", "ENDED", "SEEN", ""], &sessions.iter().map(row).collect::<Vec<_>>())
}

fn session_of(session: &Value) -> String {
    let facts = pairs(&[
        ("camera", cell(&session["camera"])),
        ("began", time(&session["began"])),
        ("ended", if session["ended"].is_null() { "goes on".into() } else { time(&session["ended"]) }),
        ("reason", cell(&session["reason"])),
        ("snapshot", cell(&session["snapshot"])),
        ("clip", cell(&session["clip"])),
        ("not recorded", cell(&session["recording_stopped"])),
    ]);
    let row = |(class, seen): (&String, &Value)| {
        let best = seen["best"].as_f64().map(|score| format!("{score:.2}")).unwrap_or_default();
        vec![class.clone(), cell(&seen["count"]), best]
    };
    let classes = session["classes"].as_object().into_iter().flatten().map(row);
    format!("{facts}\n{}", table(&["SEEN", "TIMES", "BEST"], &classes.collect::<Vec<_>>()))
}

/// A moment to the second, as the box tells it: in UTC.
fn time(moment: &Value) -> String {
    let text = cell(moment);
    text.get(..19).map_or(text.clone(), |short| format!("{}Z", short.replace('T', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_camera_is_its_state() {
        let ready = json!({"running": true, "state": "idle", "source_state": {"state": "live"}, "detector": {"state": "ready"}});
        let with = |field: &str, value: Value| {
            let mut camera = ready.clone();
            camera[field] = value;
            camera
        };
        for (camera, expected) in [
            (ready.clone(), "idle"),
            (with("running", json!(false)), "off"),
            (with("source_state", Value::Null), "starting"),
            (with("source_state", json!({"state": "lost", "reason": "x"})), "source lost"),
            (with("detector", json!({"state": "loading"})), "detector loading"),
        ] {
            assert_eq!(state(&camera), expected, "{camera}");
        }
    }

    #[test]
    fn moments_are_short_whatever_the_box_says() {
        assert_eq!(time(&json!("2026-11-21T14:03:05.123456Z")), "2026-11-21 14:03:05Z");
        assert_eq!(time(&json!("soon")), "soon");
        assert_eq!(time(&Value::Null), "");
    }
}
