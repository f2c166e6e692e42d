//! Cameras in the network, with a real RTSP server and real ffmpeg: passwords, silence, and coming back.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use base64::Engine;
use futures::StreamExt;
use http_body_util::BodyExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::cameras::{Worker, camera, listen, shapes};
use support::{Agent, READING_KEY};

/// A camera says that it is lost this long after its source fell silent, at the latest.
const SILENCE: Duration = Duration::from_secs(20);

/// Ten minutes of drawn shapes that wander, as a camera would send them.
fn video(folder: &Path) -> PathBuf {
    let video = folder.join("shapes.mkv");
    let wander = "pad=iw+24:ih+24:12:12:gray,crop=iw-24:ih-24:12+12*sin(t):12+12*cos(t)";
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-loop", "1", "-framerate", "10", "-t", "600", "-i"])
        .arg(shapes().join("sample.jpg"))
        .args(["-vf", wander, "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"])
        .args(["-g", "10", "-pix_fmt", "yuv420p"])
        .arg(&video)
        .status();
    assert!(status.expect("the builder has ffmpeg").success());
    video
}

/// GStreamer's RTSP server. Ends when dropped.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Serves a video to who knows the password; port 0 is a free one.
    fn start(video: &Path, port: u16, login: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rtsp/server.py");
        let mut process = Command::new("python3")
            .arg(script)
            .arg(video)
            .arg(port.to_string())
            .env("LOGIN", login)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the builder has python3");
        let mut line = String::new();
        let told = process.stdout.take().expect("piped");
        BufReader::new(told).read_line(&mut line).expect("it tells its port");
        let port = line.trim().parse().expect("the builder has gir1.2-gst-rtsp-server-1.0 and python3-gi");
        Self { process, port }
    }

    /// Half open: its connections stay, and nothing comes any more.
    fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("pid"));
        kill(pid, signal).expect("signal");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let killed = self.process.kill().and_then(|()| self.process.wait().map(drop));
        if let Err(error) = killed {
            eprintln!("the server was already gone: {error}");
        }
    }
}

/// A password that nothing else on this machine has in its arguments.
fn password(test: &str) -> String {
    format!("Geheim-{test}-{}", std::process::id())
}

/// The camera of a source in the network.
fn network(kind: &str, url: &str) -> Value {
    let pictures = tempfile::tempdir().expect("folder");
    let mut camera = camera(pictures.path());
    camera["source"] = json!({"kind": kind, "url": url});
    camera
}

fn config(worker: &Worker) -> String {
    format!("[cameras]\nworker = \"127.0.0.1:{}\"\nreserve_bytes = 1000000\n", worker.port)
}

/// The arguments of every process, and whether one is a decoder that the agent started.
fn arguments(agent: u32) -> (String, bool) {
    let (mut all, mut decodes) = (String::new(), false);
    let processes = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    for folder in processes.map(|entry| entry.path()).filter(|path| path.join("cmdline").exists()) {
        // A process may end at any time.
        let line = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        decodes |= parent == Some(agent) && line.contains("ffmpeg");
        all.push_str(&line);
        all.push('\n');
    }
    (all, decodes)
}

#[tokio::test]
async fn an_rtsp_camera_is_seen_falls_silent_and_comes_back() {
    let secret = password("rtsp");
    let folder = tempfile::tempdir().expect("folder");
    let video = video(folder.path());
    let login = format!("viewer:{secret}");
    let mut server = Server::start(&video, 0, &login);
    let worker = Worker::start().await;
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).expect("log");
    let agent = Agent::start_talkative(&["one"], &config(&worker), &file).await;
    let mut events = listen(&agent).await;

    // With the wrong password it is told why, and nobody learns the password.
    let url = |login: &str| format!("rtsp://{login}@127.0.0.1:{}/live", server.port);
    let wrong = network("rtsp", &url(&format!("{login}-wrong")));
    let (status, told) = agent.manage("POST", "/api/v1/cameras", &wrong.to_string()).await;
    assert_eq!(status, 201, "{told}");
    let lost = events.until("camera.lost").await.json();
    assert!(lost["part"] == "source" && lost["reason"].as_str().expect("why").contains("401"), "{lost}");
    let right = network("rtsp", &url(&login));
    let port = server.port;
    let (status, told) = agent.manage("PUT", "/api/v1/cameras/door", &right.to_string()).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["source"]["url"], format!("rtsp://viewer:***@127.0.0.1:{port}/live"));
    events.until("ai.session_started").await;
    let seen = events.until("ai.detection").await.json();
    let labels = seen["detections"].as_array().expect("list").iter().filter_map(|one| one["label"].as_str());
    assert!(labels.clone().any(|label| label == "circle"), "{seen}");
    let (lines, decodes) = arguments(agent.pid());
    assert!(decodes, "no decoder runs");
    assert!(!lines.contains(&secret), "the password is an argument of a program");
    let snapshot = agent.send_as(Some(READING_KEY), "GET", "/api/v1/cameras/door/snapshot", b"").await;
    assert_eq!(snapshot.headers()["content-type"], "image/jpeg");
    let snapshot = snapshot.into_body().collect().await.expect("body").to_bytes();
    assert!(snapshot.starts_with(&[0xff, 0xd8]) && snapshot.ends_with(&[0xff, 0xd9]));

    // It stops sending with its connections open, and goes on.
    server.freeze();
    let began = Instant::now();
    let lost = events.until("camera.lost").await.json();
    assert_eq!(lost["part"], "source", "{lost}");
    assert!(began.elapsed() < SILENCE, "{:?}", began.elapsed());
    server.thaw();
    let back = events.until("camera.back").await.json();
    assert_eq!(back["part"], "source", "{back}");
    events.until("ai.detection").await;

    // It is switched off, and on again.
    drop(server);
    let lost = events.until("camera.lost").await.json();
    assert_eq!(lost["part"], "source", "{lost}");
    server = Server::start(&video, port, &login);
    events.until("camera.back").await;
    events.until("ai.session_started").await;
    events.until("ai.detection").await;

    // The camera is switched off: its session is whole.
    let mut off = right.clone();
    off["enabled"] = json!(false);
    assert_eq!(agent.manage("PUT", "/api/v1/cameras/door", &off.to_string()).await.0, 200);
    let session = events.until("ai.session_ended").await.json()["session"].as_str().expect("name").to_owned();
    let path = format!("/api/v1/cameras/door/sessions/{session}");
    let ended = async || !agent.manage("GET", &path, "").await.1["ended"].is_null();
    agent.until("the session has ended", ended).await;
    let (_, whole) = agent.manage("GET", &path, "").await;
    assert!(whole["classes"]["circle"]["count"].as_u64() >= Some(1), "{whole}");
    for file in ["best.jpg", "clip.mjpeg"] {
        let answer = agent.send_as(Some(READING_KEY), "GET", &format!("{path}/{file}"), b"").await;
        let bytes = answer.into_body().collect().await.expect("body").to_bytes();
        assert!(bytes.starts_with(&[0xff, 0xd8]), "{file}");
    }

    assert!(!events.heard().contains(&secret), "an event tells the password");
    let (_, told) = agent.manage("GET", "/api/v1/cameras", "").await;
    assert!(!told.to_string().contains(&secret), "the API tells the password");
    let log = std::fs::read_to_string(log).expect("log");
    assert!(log.contains("no pictures"), "the log tells of the camera: {log}");
    assert!(!log.contains(&secret), "the log tells the password");
    drop(server);
}

/// One picture, or pictures without end, for who knows the password.
fn http_camera(password: &str) -> axum::Router {
    let expected = format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("viewer:{password}")));
    let jpeg = std::fs::read(shapes().join("sample.jpg")).expect("in the repository");
    let answer = move |kind: &'static str, endless: bool| {
        let (expected, jpeg) = (expected.clone(), jpeg.clone());
        get(move |headers: HeaderMap| async move {
            if headers.get(header::AUTHORIZATION).is_none_or(|sent| *sent != *expected) {
                let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"camera\"")];
                return (StatusCode::UNAUTHORIZED, ask).into_response();
            }
            let body = if endless { endlessly(&jpeg) } else { Body::from(jpeg) };
            ([(header::CONTENT_TYPE, kind)], body).into_response()
        })
    };
    // What leads elsewhere must not be followed out of the web.
    let trap = get(async || (StatusCode::FOUND, [(header::LOCATION, "file:///etc/passwd")]));
    axum::Router::new()
        .route("/snapshot.jpg", answer("image/jpeg", false))
        .route("/video", answer("multipart/x-mixed-replace; boundary=picture", true))
        .route("/trap", trap)
}

fn endlessly(jpeg: &[u8]) -> Body {
    let head = format!("--picture\r\ncontent-type: image/jpeg\r\ncontent-length: {}\r\n\r\n", jpeg.len());
    let part = [head.as_bytes(), jpeg, b"\r\n"].concat();
    let pace =
        futures::stream::unfold(tokio::time::interval(Duration::from_millis(100)), async |mut pace| {
            pace.tick().await;
            Some(((), pace))
        });
    Body::from_stream(pace.map(move |()| Ok::<_, Infallible>(part.clone())))
}

#[tokio::test]
async fn http_cameras_give_one_picture_or_many_and_their_passwords_stay_hidden() {
    let secret = password("http");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let port = listener.local_addr().expect("address").port();
    let serving = tokio::spawn(axum::serve(listener, http_camera(&secret)).into_future());
    let worker = Worker::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let log = folder.path().join("log");
    let agent =
        Agent::start_talkative(&["one"], &config(&worker), &std::fs::File::create(&log).expect("log")).await;
    let mut events = listen(&agent).await;
    let url = |place: &str| format!("http://viewer:{secret}@127.0.0.1:{port}/{place}");

    let add = network("http", &url("trap")).to_string();
    assert_eq!(agent.manage("POST", "/api/v1/cameras", &add).await.0, 201);
    let lost = events.until("camera.lost").await.json();
    assert_eq!(lost["part"], "source", "{lost}");
    for place in ["video", "snapshot.jpg"] {
        let change = network("http", &url(place)).to_string();
        assert_eq!(agent.manage("PUT", "/api/v1/cameras/door", &change).await.0, 200, "{place}");
        // A new session: a picture was seen since then.
        events.until("ai.session_started").await;
        let seen = events.until("ai.detection").await.json();
        assert!(seen["detections"].to_string().contains("circle"), "{place}: {seen}");
        assert!(!arguments(agent.pid()).0.contains(&secret), "{place}: an argument tells the password");
    }
    assert!(!events.heard().contains(&secret), "an event tells the password");
    assert!(!std::fs::read_to_string(log).expect("log").contains(&secret), "the log tells the password");
    serving.abort();
}
