//! Capture with ffmpeg, and with small programs in its place.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use std::collections::BTreeSet;
use std::process::Command;

use tokio::time::timeout;

use super::*;
use crate::jpegs::tests::picture;

/// A folder with two pictures in one stream, and a program that does what the test says.
fn decoder(script: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("room");
    std::fs::write(folder.path().join("stream"), [picture(1), picture(2)].concat()).expect("room");
    let program = folder.path().join("ffmpeg");
    let script = format!("#!/bin/sh\ncd '{}'\n{script}\n", folder.path().display());
    std::fs::write(&program, script).expect("room");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).expect("ours");
    (folder, program)
}

struct Running {
    pictures: std::sync::Arc<Latest<Picture>>,
    states: mpsc::Receiver<CameraState>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn start(source: Source, ffmpeg: PathBuf) -> Running {
    let pictures = std::sync::Arc::new(Latest::default());
    let (sender, states) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let capture = Capture { source, fps: 12, ffmpeg };
    let (to, stopped) = (pictures.clone(), stop.clone());
    let task = tokio::spawn(async move { capture.run(&to, sender, stopped).await });
    Running { pictures, states, stop, task }
}

fn rtsp() -> Source {
    Source::Rtsp { url: "rtsp://user:secret@cam/live".into() }
}

impl Running {
    async fn state(&mut self) -> CameraState {
        timeout(Duration::from_secs(30), self.states.recv()).await.expect("in time").expect("runs")
    }

    async fn reason(&mut self) -> String {
        loop {
            if let CameraState::Lost { reason } = self.state().await {
                return reason;
            }
        }
    }
}

#[tokio::test]
async fn a_decoder_that_dies_is_told_without_the_password_and_started_again() {
    let script = "cat stream\necho 'rtsp://user:secret@cam/live: Connection refused' >&2\nexit 1";
    let (_folder, program) = decoder(script);
    let mut running = start(rtsp(), program);
    assert_eq!(running.state().await, CameraState::Connecting);
    assert_eq!(running.state().await, CameraState::Live);
    assert_eq!(running.reason().await, "rtsp://***@cam/live: Connection refused");
    assert_eq!(running.pictures.take().await.jpeg, picture(1), "one of those that come at once");
    assert_eq!(running.state().await, CameraState::Live, "again");
    running.stop.cancel();
    running.task.await.expect("ends");
}

#[tokio::test]
async fn a_decoder_that_is_missing_is_told() {
    let mut running = start(rtsp(), "/nowhere/ffmpeg".into());
    let reason = running.reason().await;
    assert!(reason.contains("cannot start /nowhere/ffmpeg"), "{reason}");
    running.stop.cancel();
    running.task.await.expect("ends");
}

#[tokio::test]
async fn a_camera_that_is_not_plugged_in_is_told_and_looked_for_again_soon() {
    let mut running = start(Source::V4l2 { device: "/dev/video999".into() }, "ffmpeg".into());
    for _ in 0..2 {
        let reason = running.reason().await;
        assert!(reason.contains("there is no /dev/video999"), "{reason}");
    }
    running.stop.cancel();
    running.task.await.expect("ends");
}

#[tokio::test]
async fn stopping_kills_the_decoder() {
    let (folder, program) = decoder("echo $$ > pid\ncat stream\nexec sleep 1000");
    let mut running = start(rtsp(), program);
    running.pictures.take().await;
    assert_eq!(running.state().await, CameraState::Connecting);
    running.stop.cancel();
    running.task.await.expect("ends");
    let pid = std::fs::read_to_string(folder.path().join("pid")).expect("it ran");
    let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    let gone = async {
        // A killed process may still wait to be reaped.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("killed");
}

#[tokio::test]
async fn a_video_ends() {
    let (_folder, program) = decoder("cat stream");
    let mut running = start(Source::File { path: "/srv/a.mp4".into(), repeat: false }, program);
    let states = [running.state().await, running.state().await, running.state().await];
    assert_eq!(states, [CameraState::Connecting, CameraState::Live, CameraState::Ended]);
    running.task.await.expect("ended");
}

#[tokio::test(start_paused = true)]
async fn a_folder_is_played_in_the_order_of_its_names() {
    let folder = tempfile::tempdir().expect("room");
    for (name, number) in [("b.jpg", 2), ("a.jpeg", 1), ("c.JPG", 3), ("notes.txt", 9)] {
        std::fs::write(folder.path().join(name), picture(number)).expect("room");
    }
    let source = Source::Folder { path: folder.path().into(), repeat: true };
    let running = start(source, PathBuf::new());
    let began = Instant::now();
    for number in [1, 2, 3, 1] {
        assert_eq!(running.pictures.take().await.jpeg, picture(number));
    }
    assert!((240..=330).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    running.stop.cancel();
    running.task.await.expect("ends");
    let mut missing = start(Source::Folder { path: "/nowhere".into(), repeat: true }, PathBuf::new());
    assert!(missing.reason().await.contains("/nowhere"));
}

/// What ffmpeg makes of a drawing that changes with every frame.
fn drawn(name: &str, arguments: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("room");
    let file = folder.path().join(name);
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10"])
        .args(arguments)
        .arg(&file)
        .status();
    assert!(status.expect("the builder has ffmpeg").success());
    (folder, file)
}

#[tokio::test]
async fn the_decoder_s_pictures_come_at_the_wished_rate_and_none_comes_twice() {
    let (_folder, path) = drawn("video.mkv", &["-t", "3", "-c:v", "mjpeg"]);
    let taken = async |fps: u32| {
        let (pictures, (states, _kept)) = (Latest::<Picture>::default(), mpsc::channel(16));
        let capture = Capture {
            source: Source::File { path: path.clone(), repeat: false },
            fps,
            ffmpeg: "ffmpeg".into(),
        };
        let mut taken = Vec::new();
        let taking = async {
            loop {
                taken.push(pictures.take().await.jpeg);
            }
        };
        tokio::select! {
            biased;
            () = taking => unreachable!("without end"),
            () = capture.run(&pictures, states, CancellationToken::new()) => {}
        }
        let different = taken.iter().collect::<BTreeSet<_>>().len();
        assert_eq!(different, taken.len(), "some came twice at {fps}");
        taken.len()
    };
    let (many, few) = tokio::join!(taken(30), taken(5));
    // Ten a second, and on a busy machine some come so late that others replace them.
    assert!((20..=30).contains(&many), "{many}");
    assert!((10..=17).contains(&few), "{few}");
}

#[tokio::test]
async fn an_address_of_a_png_is_read_by_the_decoder_again_and_again() {
    let (_folder, file) = drawn("picture.png", &["-frames:v", "1"]);
    let png = std::fs::read(file).expect("drawn");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n", png.len());
    let address = crate::http::tests::giving([head.as_bytes(), &png].concat()).await;
    let mut running = start(Source::Http { url: format!("http://{address}/picture.png") }, "ffmpeg".into());
    for _ in 0..2 {
        let taken = timeout(Duration::from_secs(20), running.pictures.take()).await.expect("in time");
        assert!(taken.jpeg.starts_with(&[0xff, 0xd8]));
    }
    running.stop.cancel();
    while let Some(state) = running.states.recv().await {
        assert!(!matches!(state, CameraState::Lost { .. }), "{state:?}");
    }
}
