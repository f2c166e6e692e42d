//! Capture with small programs in the place of ffmpeg.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

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
    assert_eq!(running.pictures.take().await.jpeg, picture(2), "the newest");
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

#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_is_given_up_even_when_bytes_come() {
    let (mut writer, reader) = tokio::io::duplex(1024);
    let (states, _kept) = mpsc::channel(16);
    let latest = Latest::default();
    let mut sink = Sink::new(&latest, &states);
    let began = Instant::now();
    let feed = async {
        tokio::io::AsyncWriteExt::write_all(&mut writer, &picture(1)).await.expect("read");
        loop {
            sleep(Duration::from_secs(1)).await;
            if tokio::io::AsyncWriteExt::write_all(&mut writer, b"not a picture").await.is_err() {
                break;
            }
        }
    };
    let reason = tokio::select! {
        read = pictures(reader, &mut sink) => read.expect_err("stalled"),
        () = feed => panic!("read to the end"),
    };
    assert!(reason.contains("no picture for 10 s"), "{reason}");
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn a_snapshot_address_is_asked_again_and_a_video_ends() {
    let (_folder, program) = decoder("cat stream | head -c $(($(wc -c < stream) / 2))");
    let mut running = start(Source::Http { url: "http://cam/snapshot.jpg".into() }, program.clone());
    for _ in 0..2 {
        assert_eq!(running.pictures.take().await.jpeg, picture(1));
    }
    running.stop.cancel();
    while let Some(state) = running.states.recv().await {
        assert!(!matches!(state, CameraState::Lost { .. }), "{state:?}");
    }
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
