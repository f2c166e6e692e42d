//! Cameras on a disk that is really full: a small file system of their own, filled to the last byte.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use actionbooster_storage::Space;
use serde_json::{Value, json};
use support::cameras::{Worker, camera, listen};
use support::{Agent, parsed};

const DISK_BYTES: u64 = 8 << 20;

/// Writes until nothing fits any more. To be removed to make room.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("file");
    let mut piece = 64 * 1024;
    while piece > 0 {
        match file.write(&vec![0x55; piece]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => piece /= 2,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_full_disk_stops_recording_and_neither_detection_nor_settings_are_lost() {
    let worker = Worker::start().await;
    let config = format!("[cameras]\nworker = \"127.0.0.1:{}\"\nreserve_bytes = 0\n", worker.port);
    let agent = Agent::start_with_small_disk(&config, DISK_BYTES).await;
    let pictures = tempfile::tempdir().expect("folder");
    let mut events = listen(&agent).await;
    let door = camera(pictures.path());
    let (status, told) = agent.manage("POST", "/api/v1/cameras", &door.to_string()).await;
    assert_eq!(status, 201, "{told}");
    let session =
        events.until("ai.session_started").await.json()["session"].as_str().expect("name").to_owned();
    let clip = agent.cameras().join("door").join(&session).join("clip.mjpeg");
    agent.until("it records", async || clip.exists()).await;

    let filler = agent.cameras().join("filler");
    fill(&filler);
    let stopped = events.until("camera.recording_stopped").await.json();
    assert_eq!(stopped["camera"], "door");
    assert!(stopped["reason"].as_str().expect("why").contains("the disk is full"), "{stopped}");
    let seen = events.until("ai.detection").await.json();
    assert_eq!(seen["session"], session.as_str(), "detection goes on");

    // What is refused changes nothing.
    let mut changed = door.clone();
    changed["threshold"] = json!(0.9);
    let (status, told) = agent.manage("PUT", "/api/v1/cameras/door", &changed.to_string()).await;
    assert_eq!((status, &told["type"]), (507, &json!("disk-full")), "{told}");
    let mut gate = door.clone();
    gate["id"] = json!("gate");
    assert_eq!(agent.manage("POST", "/api/v1/cameras", &gate.to_string()).await.0, 507);
    let (_, told) = agent.manage("GET", "/api/v1/cameras", "").await;
    let cameras = told["cameras"].as_array().expect("list");
    assert_eq!(cameras.len(), 1, "{told}");
    assert!(cameras[0]["threshold"].as_f64() < Some(0.5), "{told}");
    // Who comes later than the event sees it too.
    let told = async || agent.manage("GET", "/api/v1/cameras/door", "").await.1;
    agent.until("it tells why", async || told().await["recording_stopped"].is_string()).await;
    assert_eq!(told().await["session"], session.as_str(), "the same session goes on");
    let kept: Value =
        serde_json::from_slice(&std::fs::read(agent.cameras().join("door/camera.json")).expect("kept"))
            .expect("whole");
    assert!(kept["threshold"].as_f64() < Some(0.5), "{kept}");
    assert!(!agent.cameras().join("gate").exists(), "nothing of what was refused is left");

    // With room again everything can be written, and the session tells what happened.
    std::fs::remove_file(filler).expect("removed");
    changed["enabled"] = json!(false);
    let (status, told) = agent.manage("PUT", "/api/v1/cameras/door", &changed.to_string()).await;
    assert_eq!(status, 200, "{told}");
    events.until("ai.session_ended").await;
    let path = format!("/api/v1/cameras/door/sessions/{session}");
    agent
        .until("the session has ended", async || !agent.manage("GET", &path, "").await.1["ended"].is_null())
        .await;
    let (_, listed) = agent.manage("GET", "/api/v1/cameras/door/sessions", "").await;
    assert!(listed["sessions"][0]["recording_stopped"].is_string(), "{listed}");
    let (_, whole) = agent.manage("GET", &path, "").await;
    assert!(whole["recording_stopped"].as_str().expect("why").contains("the disk is full"), "{whole}");
    let seen_in_it = whole["frames"].as_array().expect("frames").len();
    let recorded = std::fs::read(clip).expect("clip");
    assert!(recorded.starts_with(&[0xff, 0xd8]) && recorded.ends_with(&[0xff, 0xd9]), "whole pictures only");
    assert!(seen_in_it >= 1, "{whole}");
}

/// Writes until this many bytes are left.
fn fill_to(path: &Path, leave: u64) {
    let mut file = File::create(path).expect("file");
    let folder = path.parent().expect("folder");
    while Space::of(folder).expect("space").free_bytes > leave {
        file.write_all(&[0x55; 8 * 1024]).expect("written");
    }
}

#[tokio::test]
async fn recording_stops_well_before_and_what_it_took_can_be_told_and_freed() {
    let worker = Worker::start().await;
    let config = format!("[cameras]\nworker = \"127.0.0.1:{}\"\nreserve_bytes = 0\n", worker.port);
    // The floor of such a disk is a tenth of it.
    let agent = Agent::start_with_small_disk(&config, 8 * DISK_BYTES).await;
    let pictures = tempfile::tempdir().expect("folder");
    let mut events = listen(&agent).await;
    let mut door = camera(pictures.path());
    assert_eq!(agent.manage("POST", "/api/v1/cameras", &door.to_string()).await.0, 201);
    let session =
        events.until("ai.session_started").await.json()["session"].as_str().expect("name").to_owned();
    let clip = agent.cameras().join("door").join(&session).join("clip.mjpeg");
    agent.until("it records", async || clip.exists()).await;
    fill_to(&agent.cameras().join("filler"), 4 << 20);
    let reason = events.until("camera.recording_stopped").await.json()["reason"].clone();
    let reason = reason.as_str().expect("why");
    assert!(reason.starts_with("the disk is full") && reason.contains("are kept free"), "{reason}");
    let left = Space::of(&agent.cameras()).expect("space").free_bytes;
    assert!(left > 1 << 20, "only {left} bytes are left");

    // What is small still fits.
    door["enabled"] = json!(false);
    let (status, told) = agent.manage("PUT", "/api/v1/cameras/door", &door.to_string()).await;
    assert_eq!(status, 200, "{told}");
    let path = format!("/api/v1/cameras/door/sessions/{session}");
    agent
        .until("the session has ended", async || !agent.manage("GET", &path, "").await.1["ended"].is_null())
        .await;

    // The monitor asks without a key, a stranger behind nginx may not.
    let (status, told) = parsed(agent.ask_on_the_box("/usage").await).await;
    assert_eq!(status, 200, "{told}");
    let parts = told["parts"].as_array().expect("parts");
    let recordings = parts.iter().find(|part| part["kind"] == "recordings").expect("recordings");
    let item = &recordings["items"][0];
    assert_eq!(
        (&item["id"], &item["name"], &item["sessions"]),
        (&json!("door"), &json!("Front door"), &json!(1))
    );
    assert!(item["bytes"].as_u64() > Some(0), "{item}");
    assert_eq!(item["free"]["path"], "/api/v1/cameras/door/sessions");
    let models = parts.iter().find(|part| part["kind"] == "models").expect("models");
    assert_eq!(models["items"][0]["free"]["path"], "/api/v1/models/one", "{models}");
    assert_eq!(parsed(agent.send_as(None, "GET", "/usage", b"").await).await.0, 401);

    let sessions = "/api/v1/cameras/door/sessions";
    assert_eq!(agent.manage("DELETE", sessions, "").await.0, 400, "it must be said which");
    let older = format!("{sessions}?older_than_days=1");
    assert_eq!(agent.manage("DELETE", &older, "").await, (200, json!({"removed": 0})));
    let all = format!("{sessions}?older_than_days=0");
    assert_eq!(parsed(agent.send("DELETE", &all, "").await).await.0, 403, "only who administers may");
    assert_eq!(agent.manage("DELETE", &all, "").await, (200, json!({"removed": 1})));
    let (_, listed) = agent.manage("GET", sessions, "").await;
    assert_eq!(listed["sessions"], json!([]));
}
