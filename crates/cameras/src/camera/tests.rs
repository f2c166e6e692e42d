//! A whole camera: a folder of pictures, a small worker on a real socket, and a disk.

use actionbooster_wire::frames::{DEFAULT_LIMIT, Frames};
use ai::envelope::Message;
use futures::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::codec::Framed;

use super::*;
use crate::jpegs::tests::picture;
use crate::session::{BEST, CLIP, SUMMARY, Summary};
use crate::source::Source;
use crate::window::tests::{init_ok, nobody, person, ready};

/// Answers frames; sees a person in those that the function says.
async fn worker(sees: impl Fn(u64) -> bool + Send + 'static) -> String {
    let mut frames = 0;
    worker_that(move |_, frame| {
        frames += 1;
        let score = if frame.data == picture(2) { 0.9 } else { 0.5 };
        if sees(frames) { person(frame.frame_id, score) } else { nobody(frame.frame_id) }
    })
    .await
}

/// Answers frames as it is told.
async fn worker_that(
    mut answer: impl FnMut(&ai::Init, ai::Frame) -> ai::Envelope + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        let mut wished = ai::Init::default();
        loop {
            let (stream, _) = listener.accept().await.expect("a client");
            let codec = Frames::<ai::Envelope, ai::Envelope>::new(DEFAULT_LIMIT);
            let mut connection = Framed::new(stream, codec);
            while let Some(Ok(envelope)) = connection.next().await {
                let Some(Message::Request(ai::Request { kind: Some(kind) })) = envelope.message else {
                    continue;
                };
                match kind {
                    ai::request::Kind::Init(init) => {
                        wished = init;
                        connection.send(init_ok()).await.expect("sent");
                        connection.send(ready()).await.expect("sent");
                    }
                    ai::request::Kind::Frame(frame) => {
                        connection.send(answer(&wished, frame)).await.expect("sent");
                    }
                    ai::request::Kind::End(_) => {}
                }
            }
        }
    });
    address
}

struct Running {
    root: TempDir,
    events: mpsc::Receiver<CameraEvent>,
    live: watch::Receiver<Option<Live>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn start(worker: String, change: impl FnOnce(&mut Camera, &mut Surroundings)) -> Running {
    let root = tempfile::tempdir().expect("room");
    let pictures = root.path().join("pictures");
    std::fs::create_dir(&pictures).expect("room");
    for number in 1..=3 {
        std::fs::write(pictures.join(format!("{number}.jpg")), picture(number)).expect("room");
    }
    let mut camera = Camera::new("door", Source::Folder { path: pictures, repeat: true }, "shapes");
    camera.record = true;
    (camera.dwell_ms, camera.silence_ms, camera.post_roll_ms) = (300, 400, 300);
    let mut around = Surroundings {
        worker,
        token: String::new(),
        ffmpeg: PathBuf::new(),
        root: root.path().join("cameras"),
        reserve_bytes: 0,
        clip_bytes: 1 << 20,
    };
    change(&mut camera, &mut around);
    assert_eq!(camera.check(), Ok(()));
    let (sender, events) = mpsc::channel(16);
    let (live_sender, live) = watch::channel(None);
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(camera, around, sender, live_sender, stop.clone()));
    Running { root, events, live, stop, task }
}

impl Running {
    /// The next event that is neither a detection nor a keepalive.
    async fn event(&mut self) -> CameraEvent {
        self.until(|event| !matches!(event, CameraEvent::Detection { .. } | CameraEvent::Keepalive { .. }))
            .await
    }

    async fn until(&mut self, wanted: impl Fn(&CameraEvent) -> bool) -> CameraEvent {
        let next = async {
            loop {
                let event = self.events.recv().await.expect("runs");
                if wanted(&event) {
                    return event;
                }
            }
        };
        timeout(Duration::from_secs(20), next).await.expect("in time")
    }

    fn folder(&self, session: &str) -> PathBuf {
        self.root.path().join("cameras/door").join(session)
    }

    async fn end(&mut self) {
        self.stop.cancel();
        let began = std::time::Instant::now();
        (&mut self.task).await.expect("ended");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

fn summary(folder: &std::path::Path) -> Summary {
    serde_json::from_slice(&std::fs::read(folder.join(SUMMARY)).expect("written")).expect("whole")
}

#[tokio::test]
async fn what_is_seen_becomes_a_session_on_the_disk() {
    let mut running = start(worker(|frame| (3..=12).contains(&frame)).await, |_, _| {});
    let CameraEvent::SessionStarted { session, at, since, .. } = running.event().await else {
        panic!("a session first")
    };
    assert!(at > since);
    let detection = running.until(|event| matches!(event, CameraEvent::Detection { .. })).await;
    let CameraEvent::Detection { session: within, detections, .. } = detection else { unreachable!() };
    assert_eq!((within.as_ref(), detections[0].label.as_str()), (Some(&session), "person"));
    let seen = |live: &Option<Live>| live.as_ref().is_some_and(|live| !live.detections.is_empty());
    assert!(running.live.wait_for(seen).await.is_ok(), "it is drawn");
    let ended = running.event().await;
    let CameraEvent::SessionEnded { session: ended, reason, .. } = ended else { panic!("{ended:?}") };
    assert_eq!((&ended, reason), (&session, EndReason::Silence));
    running.end().await;
    let folder = running.folder(&session);
    let summary = summary(&folder);
    assert_eq!(
        (summary.classes["person"].count, summary.classes["person"].best),
        (10, 0.9),
        "from the dwell on"
    );
    assert_eq!(summary.reason.as_deref(), Some("silence"));
    assert_eq!(
        (summary.began, since),
        (summary.frames[0].at, summary.frames[0].at),
        "when its first frame was taken"
    );
    assert_eq!(std::fs::read(folder.join(BEST)).expect("written"), picture(2));
    let clip = std::fs::read(folder.join(CLIP)).expect("written");
    assert!(clip.len() >= 10 * picture(1).len(), "with what was before: {}", clip.len());
}

#[tokio::test]
async fn stopping_ends_the_session_and_writes_it() {
    let mut running = start(worker(|_| true).await, |camera, _| camera.record = false);
    let CameraEvent::SessionStarted { session, .. } = running.event().await else { panic!("a session") };
    running.end().await;
    let mut last = None;
    while let Some(event) = running.events.recv().await {
        last = Some(event);
    }
    let reason = EndReason::Stopped;
    assert!(
        matches!(last, Some(CameraEvent::SessionEnded { reason: told, .. }) if told == reason),
        "{last:?}"
    );
    let folder = running.folder(&session);
    assert_eq!(summary(&folder).reason.as_deref(), Some("stopped"));
    assert!(!folder.join(CLIP).exists(), "not wanted");
}

#[tokio::test]
async fn what_lies_in_a_mask_is_not_seen() {
    let cover = |camera: &mut Camera, _: &mut Surroundings| {
        camera.masks.push(Mask { points: vec![[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6]] });
    };
    let mut running = start(worker(|_| true).await, cover);
    for _ in 0..2 {
        let event = running.events.recv().await.expect("runs");
        assert!(matches!(event, CameraEvent::Keepalive { state: State::Idle, .. }), "{event:?}");
    }
    running.end().await;
}

#[tokio::test]
async fn what_lies_in_a_mask_takes_nobody_s_place() {
    let parked = |index: u8| ai::Detection {
        label: "car".into(),
        score: 0.9,
        r#box: Some(ai::Box { x: f32::from(index), y: 80.0, width: 10.0, height: 10.0 }),
        ..Default::default()
    };
    let car_park = move |init: &ai::Init, frame: ai::Frame| {
        let mut envelope = person(frame.frame_id, 0.5);
        if let Some(Message::Response(ai::Response { kind: Some(ai::response::Kind::Result(result)) })) =
            &mut envelope.message
        {
            result.detections.splice(0..0, (0..150).map(parked));
            result.detections.truncate(init.max_detections.unwrap_or(100) as usize);
        }
        envelope
    };
    let cover = |camera: &mut Camera, _: &mut Surroundings| {
        camera.masks.push(Mask { points: vec![[0.0, 0.75], [1.0, 0.75], [1.0, 1.0], [0.0, 1.0]] });
    };
    let mut running = start(worker_that(car_park).await, cover);
    let event = running.until(|event| matches!(event, CameraEvent::Detection { .. })).await;
    let CameraEvent::Detection { detections, .. } = event else { unreachable!() };
    let labels: Vec<&str> = detections.iter().map(|seen| seen.label.as_str()).collect();
    assert_eq!(labels, ["person"]);
    running.end().await;
}

#[tokio::test]
async fn a_full_disk_stops_recording_and_detection_goes_on() {
    let mut running = start(worker(|_| true).await, |_, around| around.reserve_bytes = u64::MAX / 2);
    assert!(matches!(running.event().await, CameraEvent::SessionStarted { .. }));
    let event = running.event().await;
    let CameraEvent::RecordingStopped { reason, .. } = event else { panic!("{event:?}") };
    assert!(reason.contains("the disk is full"), "{reason}");
    running.until(|event| matches!(event, CameraEvent::Detection { .. })).await;
    running.end().await;
}

#[tokio::test]
async fn a_source_and_a_worker_that_are_missing_are_told_once_and_stopping_is_prompt() {
    let missing = |camera: &mut Camera, _: &mut Surroundings| {
        camera.source = Source::Folder { path: "/nowhere".into(), repeat: true };
    };
    let mut running = start("127.0.0.1:1".into(), missing);
    let mut parts = Vec::new();
    for _ in 0..2 {
        let event = running.event().await;
        let CameraEvent::Lost { part, .. } = event else { panic!("{event:?}") };
        parts.push(part);
    }
    assert!(parts.contains(&Part::Source) && parts.contains(&Part::Detector));
    running.end().await;
}

#[tokio::test]
async fn a_listener_that_is_slow_misses_passing_events_first() {
    let (recorder, _commands) = Recorder::new();
    let camera = Camera::new("door", Source::V4l2 { device: "/dev/video0".into() }, "shapes");
    let (live, _watching) = watch::channel(None);
    let mut pipeline = Pipeline::new(camera, Path::new(""), recorder, Arc::default(), live);
    pipeline.keepalive();
    pipeline.lost(Part::Source, "gone".into());
    pipeline.lost(Part::Source, "still gone".into());
    pipeline.back(Part::Source);
    pipeline.back(Part::Source);
    for _ in 0..1000 {
        pipeline.keepalive();
    }
    assert_eq!(pipeline.waiting.len(), MOST_WAITING);
    assert!(matches!(pipeline.waiting[0], CameraEvent::Lost { .. }));
    assert!(matches!(pipeline.waiting[1], CameraEvent::Back { .. }));
    assert!(matches!(pipeline.waiting[2], CameraEvent::Keepalive { .. }));
}
