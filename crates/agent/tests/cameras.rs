//! Cameras from their pictures to sessions, with a real worker that is killed and comes back.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::cameras::{Worker, camera, listen, shapes};
use support::{Agent, READING_KEY};

#[tokio::test]
async fn a_camera_sees_keeps_a_session_and_outlives_its_worker() {
    let mut worker = Worker::start().await;
    let config = format!("[cameras]\nworker = \"127.0.0.1:{}\"\nreserve_bytes = 1000000\n", worker.port);
    let agent = Agent::start(&["one"], &config).await;
    let pictures = tempfile::tempdir().expect("folder");
    let mut events = listen(&agent).await;
    let (status, told) = agent.manage("POST", "/api/v1/cameras", &camera(pictures.path()).to_string()).await;
    assert_eq!((status, &told["running"]), (201, &json!(true)), "{told}");
    let started = events.until("ai.session_started").await.json();
    assert_eq!(started["camera"], "door");
    let seen = events.until("ai.detection").await.json();
    let labels: Vec<&str> =
        seen["detections"].as_array().expect("list").iter().filter_map(|one| one["label"].as_str()).collect();
    assert!(labels.contains(&"circle") && !labels.contains(&"triangle"), "{labels:?}");
    let alive = events.until("ai.keepalive").await.json();
    assert_eq!(alive["camera"], "door");

    // What it sees now, for people.
    let picture = agent.send_as(Some(READING_KEY), "GET", "/api/v1/cameras/door/snapshot", b"").await;
    assert_eq!(picture.headers()["content-type"], "image/jpeg");
    let picture = picture.into_body().collect().await.expect("body").to_bytes();
    assert!(picture.starts_with(&[0xff, 0xd8]) && picture.ends_with(&[0xff, 0xd9]));
    let mut live =
        agent.send_as(Some(READING_KEY), "GET", "/api/v1/cameras/door/live", b"").await.into_body();
    let mut shown = Vec::new();
    while shown.windows(9).filter(|part| part == b"--picture").count() < 3 {
        let frame =
            tokio::time::timeout(support::LIMIT, live.frame()).await.expect("in time").expect("a frame");
        shown.extend_from_slice(&frame.expect("frame").into_data().unwrap_or_default());
    }
    drop(live);

    // The worker is killed under load, and comes back.
    worker.kill();
    let lost = events.until("camera.lost").await.json();
    assert_eq!(lost["part"], "detector", "{lost}");
    worker.again().await;
    events.until("camera.back").await;
    events.until("ai.detection").await;
    assert!(agent.counter("ai_reconnects_total", "door").await > 0.5);
    assert!(agent.counter("ai_init_ok_total", "door").await > 1.5);
    assert!(agent.counter("ai_frames_sent_total", "door").await > 1.5);

    // Switched off, its session is whole on the disk.
    let mut off = camera(pictures.path());
    off["enabled"] = json!(false);
    let (status, told) = agent.manage("PUT", "/api/v1/cameras/door", &off.to_string()).await;
    assert_eq!((status, &told["running"]), (200, &json!(false)), "{told}");
    events.until("ai.session_ended").await;
    let (_, told) = agent.manage("GET", "/api/v1/cameras/door/sessions", "").await;
    let session = told["sessions"][0]["session"].as_str().expect("a session").to_owned();
    let path = format!("/api/v1/cameras/door/sessions/{session}");
    agent
        .until("the session has ended", async || !agent.manage("GET", &path, "").await.1["ended"].is_null())
        .await;
    let (_, whole) = agent.manage("GET", &path, "").await;
    assert!(whole["classes"]["circle"]["count"].as_u64() >= Some(1), "{whole}");
    assert!(!whole["frames"].as_array().expect("frames").is_empty());
    for (file, kind) in [("best.jpg", "image/jpeg"), ("clip.mjpeg", "video/x-motion-jpeg")] {
        let answer = agent.send_as(Some(READING_KEY), "GET", &format!("{path}/{file}"), b"").await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &kind.parse().expect("kind"))
        );
        let bytes = answer.into_body().collect().await.expect("body").to_bytes();
        assert!(bytes.starts_with(&[0xff, 0xd8]), "{file}");
    }
    let (status, _) = agent.manage("GET", &format!("{path}/session.json"), "").await;
    assert_eq!(status, 404, "only pictures are files");
    let (status, told) = agent.manage("DELETE", &path, "").await;
    assert_eq!(status, 204, "{told}");
    let (status, _) = agent.manage("DELETE", "/api/v1/cameras/door", "").await;
    assert_eq!(status, 204);
    let (_, told) = agent.manage("GET", "/api/v1/cameras", "").await;
    assert_eq!(told["cameras"], json!([]));
}

#[tokio::test]
async fn cameras_survive_the_agent_and_a_source_that_is_gone_is_told() {
    let worker = Worker::start().await;
    let config = format!("[cameras]\nworker = \"127.0.0.1:{}\"\n", worker.port);
    let agent = Agent::start(&["one"], &config).await;
    let pictures = tempfile::tempdir().expect("folder");
    let mut events = listen(&agent).await;
    let mut gone = camera(pictures.path());
    gone["source"]["path"] = json!(pictures.path().join("nothing"));
    let (status, told) = agent.manage("POST", "/api/v1/cameras", &gone.to_string()).await;
    assert_eq!(status, 201, "{told}");
    let lost = events.until("camera.lost").await.json();
    assert_eq!((&lost["camera"], &lost["part"]), (&json!("door"), &json!("source")), "{lost}");
    // Plugged in again.
    std::fs::create_dir(pictures.path().join("nothing")).expect("folder");
    std::fs::copy(shapes().join("sample.jpg"), pictures.path().join("nothing/a.jpg")).expect("copied");
    events.until("camera.back").await;
    let file = agent.root().join("var/lib/actionbooster/cameras/door/camera.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(file).expect("kept")).expect("JSON");
    assert_eq!(kept["id"], "door");
}

#[tokio::test]
async fn cameras_that_make_no_sense_are_refused_with_the_field() {
    let agent = Agent::start(&["one"], "[cameras]\nworker = \"127.0.0.1:9\"\n").await;
    let pictures = tempfile::tempdir().expect("folder");
    let good = camera(pictures.path());
    for (pointer, value, field) in [
        ("/id", json!("Front Door"), "id"),
        ("/threshold", json!(7), "threshold"),
        ("/source", json!({"kind": "rtsp", "url": "file:///etc/passwd"}), "source"),
        ("/source", json!({"kind": "v4l2", "device": "/dev/sda"}), "source"),
        ("/fps_active", json!(0), "fps"),
    ] {
        let mut bad = good.clone();
        bad[&pointer[1..]] = value;
        let (status, told) = agent.manage("POST", "/api/v1/cameras", &bad.to_string()).await;
        assert_eq!(status, 422, "{pointer}: {told}");
        assert!(told["detail"].as_str().expect("detail").contains(field), "{pointer}: {told}");
    }
    for (method, path) in [
        ("GET", "/api/v1/cameras/gate"),
        ("GET", "/api/v1/cameras/gate/live"),
        ("GET", "/api/v1/cameras/..%2f..%2fauth/sessions"),
        ("DELETE", "/api/v1/cameras/gate"),
    ] {
        assert_eq!(agent.manage(method, path, "").await.0, 404, "{method} {path}");
    }
    let (status, told) = support::parsed(
        agent.send_as(Some(READING_KEY), "POST", "/api/v1/cameras", good.to_string().as_bytes()).await,
    )
    .await;
    assert_eq!(status, 403, "{told}");
    assert_eq!(agent.manage("POST", "/api/v1/cameras", &good.to_string()).await.0, 201);
    assert_eq!(agent.manage("POST", "/api/v1/cameras", &good.to_string()).await.0, 409, "the id is taken");
}

#[tokio::test]
async fn the_password_of_an_address_is_not_told_and_stays_when_it_comes_back_untold() {
    let agent = Agent::start(&["one"], "[cameras]\nworker = \"127.0.0.1:9\"\n").await;
    let mut told = json!({
        "id": "yard",
        "source": {"kind": "rtsp", "url": "rtsp://owner:secret@127.0.0.1:9/live"},
        "model": "shapes",
        "enabled": false,
    });
    let shown = "rtsp://owner:***@127.0.0.1:9/live";
    let (status, added) = agent.manage("POST", "/api/v1/cameras", &told.to_string()).await;
    assert_eq!((status, &added["source"]["url"]), (201, &json!(shown)), "{added}");
    let kept = || {
        let file = agent.root().join("var/lib/actionbooster/cameras/yard/camera.json");
        let kept: Value = serde_json::from_slice(&std::fs::read(file).expect("kept")).expect("JSON");
        let url = kept["source"]["url"].as_str().expect("address").to_owned();
        // Neither of the two passwords lies open.
        assert!(url.contains(":sealed.") && !url.contains(":secret@") && !url.contains(":new@"), "{url}");
        (url, kept["name"].clone())
    };

    // As a form sends it back that changes something else.
    told["source"]["url"] = json!(shown);
    told["name"] = json!("Back yard");
    let (status, changed) = agent.manage("PUT", "/api/v1/cameras/yard", &told.to_string()).await;
    assert_eq!((status, &changed["source"]["url"]), (200, &json!(shown)), "{changed}");
    let (sealed, name) = kept();
    assert!(sealed.ends_with("@127.0.0.1:9/live") && name == "Back yard", "{sealed} {name}");

    // A password goes to no other place than the one that it was given for.
    for url in ["rtsp://owner:***@127.0.0.2:9/live", "rtsps://owner:***@127.0.0.1:9/live"] {
        told["source"]["url"] = json!(url);
        let (status, refused) = agent.manage("PUT", "/api/v1/cameras/yard", &told.to_string()).await;
        assert_eq!((status, &refused["param"]), (422, &json!("source.url")), "{refused}");
        let detail = refused["detail"].as_str().expect("detail");
        assert!(detail.contains("write the password") && !detail.contains("secret"), "{detail}");
    }
    assert_eq!(kept().0, sealed, "what was refused changed something");
    told["source"]["url"] = json!("rtsp://owner:new@127.0.0.2:9/live");
    let (status, changed) = agent.manage("PUT", "/api/v1/cameras/yard", &told.to_string()).await;
    assert_eq!(status, 200, "{changed}");
    assert!(kept().0.ends_with("@127.0.0.2:9/live"), "{}", kept().0);
    told["id"] = json!("gate");
    told["source"]["url"] = json!(shown);
    let (status, refused) = agent.manage("POST", "/api/v1/cameras", &told.to_string()).await;
    assert_eq!((status, &refused["param"]), (422, &json!("source.url")), "{refused}");
}

#[tokio::test]
async fn a_detector_is_shown_checked_asked_for_its_classes_and_kept_while_cameras_need_it() {
    let worker = Worker::start().await;
    let config = format!("[cameras]\nworker = \"127.0.0.1:{}\"\n", worker.port);
    let agent = Agent::start(&["one"], &config).await;
    let folder = agent.model_folder("shapes");
    std::fs::create_dir_all(&folder).expect("folder");
    for file in ["manifest.toml", "shapes.onnx"] {
        std::fs::copy(shapes().join(file), folder.join(file)).expect("copied");
    }
    let path = "/api/v1/models/shapes";
    let (status, shown) = agent.manage("GET", path, "").await;
    assert_eq!((status, &shown["kind"]), (200, &json!("detector")), "{shown}");
    assert!(shown["onnx"]["nodes"].as_u64() > Some(10) && shown["state"].is_null(), "{shown}");
    let (status, told) = agent.manage("GET", &format!("{path}/classes"), "").await;
    assert_eq!((status, &told["classes"]), (200, &json!(["circle", "square", "triangle", "star"])), "{told}");
    let (status, told) = agent.manage("GET", "/api/v1/models/one/classes", "").await;
    assert_eq!((status, &told["type"]), (409, &json!("no-detector")), "{told}");
    let (status, told) = agent.manage("POST", &format!("{path}/verify"), "").await;
    assert_eq!((status, &told["ok"]), (200, &json!(true)), "{told}");
    let (status, told) = agent.manage("PATCH", path, "{\"pinned\":true}").await;
    assert_eq!((status, &told["type"]), (409, &json!("no-options")), "{told}");

    let pictures = tempfile::tempdir().expect("folder");
    let (status, told) = agent.manage("POST", "/api/v1/cameras", &camera(pictures.path()).to_string()).await;
    assert_eq!(status, 201, "{told}");
    let (status, told) = agent.manage("DELETE", path, "").await;
    assert_eq!((status, &told["type"]), (409, &json!("in-use")), "{told}");
    assert!(told["detail"].as_str().is_some_and(|text| text.contains("Front door")), "{told}");
    assert_eq!(agent.manage("DELETE", "/api/v1/cameras/door", "").await.0, 204);
    assert_eq!(agent.manage("DELETE", path, "").await.0, 204);
    assert_eq!(agent.manage("GET", path, "").await.0, 404);
    drop(worker);
}

#[tokio::test]
async fn a_detector_that_cannot_work_is_told_as_one_when_it_comes_and_when_it_is_checked() {
    let worker = Worker::start().await;
    let agent = Agent::start(&["one"], &format!("[cameras]\nworker = \"127.0.0.1:{}\"\n", worker.port)).await;
    worker.share(agent.model_folder("one").parent().expect("the store"));
    let models = shapes().join("..");
    for (path, word) in
        [(shapes().join("shapes.onnx"), None), (models.join("colours/colours-newer.onnx"), Some("opset"))]
    {
        let asked = json!({"path": path}).to_string();
        let (status, import) = agent.manage("POST", "/api/v1/models/import", &asked).await;
        assert_eq!(status, 202, "{import}");
        let import = import["import"].as_str().expect("a number").to_owned();
        let path = format!("/api/v1/models/imports/{import}");
        let ended = async {
            loop {
                let (_, told) = agent.manage("GET", &path, "").await;
                if told["state"] != "running" && told["state"] != "checking" {
                    break told;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let told = tokio::time::timeout(support::LIMIT, ended).await.expect("in time");
        let id = told["id"].as_str().expect("an id");
        let (status, verified) = agent.manage("POST", &format!("/api/v1/models/{id}/verify"), "").await;
        match word {
            None => assert_eq!((status, &told["state"]), (200, &json!("done")), "{told} {verified}"),
            Some(word) => {
                assert_eq!((&told["state"], &verified["type"]), (&json!("failed"), &json!("model_unusable")));
                for reason in [&told["reason"], &verified["detail"]] {
                    assert!(reason.as_str().is_some_and(|reason| reason.contains(word)), "{reason}");
                }
            }
        }
    }
}

#[tokio::test]
async fn classes_that_nobody_can_tell_are_refused_with_the_reason() {
    let agent = Agent::start(&["one"], "[cameras]\nworker = \"127.0.0.1:9\"\n").await;
    let folder = agent.model_folder("shapes");
    std::fs::create_dir_all(&folder).expect("folder");
    for file in ["manifest.toml", "shapes.onnx"] {
        std::fs::copy(shapes().join(file), folder.join(file)).expect("copied");
    }
    let (status, told) = agent.manage("GET", "/api/v1/models/shapes/classes", "").await;
    assert_eq!((status, &told["type"]), (503, &json!("detector-unavailable")), "{told}");
    assert!(told["detail"].as_str().is_some_and(|text| text.contains("cannot connect")), "{told}");
}
