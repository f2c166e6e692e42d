//! The owner's cameras: which there are, which run, and what they tell.

pub(crate) mod kept;
mod passwords;
pub(crate) mod routes;
mod settings;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actionbooster_cameras::address::Address;
use actionbooster_cameras::retention::{self, Limits};
use actionbooster_cameras::{Camera, CameraEvent, ClassesError, Live, Source, Surroundings, classes, run};
use actionbooster_chassis::ages::Ages;
use actionbooster_chassis::health::{Health, Status};
use actionbooster_chassis::{Paths, Problem};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::events::Events;
pub(crate) use kept::Recordings;
use passwords::{LOST, Passwords, is_lost};
use settings::Settings;

/// Events of a camera that wait to be told.
const EVENTS: usize = 64;
/// How long cameras may take to end, each its session on the disk.
const END: Duration = Duration::from_secs(8);
/// Cameras at most.
const MOST: usize = 32;

/// Settings of the cameras.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CamerasConfig {
    /// Where the worker listens.
    pub worker: String,
    /// A key with the scope `infer`, for a worker beyond this box.
    pub token: String,
    /// The program that decodes video.
    pub ffmpeg: PathBuf,
    /// Days that sessions are kept; 0 is for ever.
    pub days: u32,
    /// Bytes that sessions may take together; the oldest go. 0 is no limit.
    pub bytes: u64,
    /// Bytes that stay free on the disk: recording stops before.
    pub reserve_bytes: u64,
    /// Bytes of one clip at most.
    pub clip_bytes: u64,
}

impl Default for CamerasConfig {
    fn default() -> Self {
        Self {
            worker: "127.0.0.1:7001".into(),
            token: String::new(),
            ffmpeg: "ffmpeg".into(),
            days: 30,
            bytes: 20 << 30,
            reserve_bytes: 1 << 30,
            clip_bytes: 256 << 20,
        }
    }
}

/// A camera that runs.
#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    live: watch::Receiver<Option<Live>>,
    /// What its last keep-alive told.
    state: Arc<Mutex<Option<Value>>>,
}

/// The cameras.
pub(crate) struct Cameras {
    settings: Settings,
    around: Surroundings,
    limits: Limits,
    /// How old sessions are.
    ages: Mutex<Ages>,
    events: Arc<Events>,
    running: Mutex<BTreeMap<String, Running>>,
    tasks: TaskTracker,
    /// One change at a time: what is on the disk and what runs are the same.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Cameras {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The surroundings hold a key.
        formatter.debug_struct("Cameras").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Cameras {
    /// Reads the cameras and starts those that are to run. A camera that cannot be read is told
    /// in the log and does not keep the others.
    pub(crate) fn start(config: CamerasConfig, paths: &Paths, ages: Ages, events: Arc<Events>) -> Arc<Self> {
        let root = paths.state().join("cameras");
        let settings = Settings::new(root.clone(), Passwords::new(paths));
        settings.seal();
        let cameras = Arc::new(Self {
            settings,
            around: Surroundings {
                worker: config.worker,
                token: config.token,
                ffmpeg: config.ffmpeg,
                root,
                reserve_bytes: config.reserve_bytes,
                clip_bytes: config.clip_bytes,
            },
            limits: Limits { days: config.days, bytes: config.bytes },
            ages: Mutex::new(ages),
            events,
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            turn: tokio::sync::Mutex::new(()),
        });
        for camera in cameras.settings.all() {
            cameras.begin(camera);
        }
        cameras
    }

    /// Puts a camera there, or in the place of the one of its id. Gives it as it is kept.
    async fn put(&self, mut camera: Camera, new: bool) -> Result<Camera, Problem> {
        camera.check().map_err(|error| refused(error.field, error.to_string()))?;
        let _turn = self.turn.lock().await;
        let known = self.settings.get(&camera.id);
        if new && known.is_some() {
            let detail =
                format!("There is a camera {} already; choose another id, or change that one.", camera.id);
            return Err(
                Problem::new(StatusCode::CONFLICT, "taken", "The id is taken", detail).with("param", "id")
            );
        }
        if !new && known.is_none() {
            return Err(unknown(&camera.id));
        }
        if new && self.settings.all().len() >= MOST {
            let detail = format!("There are {MOST} cameras already; remove one first.");
            return Err(Problem::new(StatusCode::CONFLICT, "too-many", "No more cameras", detail));
        }
        camera.source = restored(camera.source, known.as_ref().map(|known| &known.source))
            .map_err(|reason| refused("source.url", format!("source.url: {reason}")))?;
        self.settings.keep(&camera).map_err(|error| not_kept(&error))?;
        self.end(&camera.id);
        self.begin(camera.clone());
        Ok(camera)
    }

    /// Names of the classes of a detector, as the worker tells them.
    pub(crate) async fn classes(&self, model: &str) -> Result<Vec<String>, ClassesError> {
        classes(&self.around.worker, &self.around.token, model).await
    }

    /// Names of the cameras that this detector is chosen for.
    pub(crate) fn that_use(&self, model: &str) -> Vec<String> {
        let using = self.settings.all().into_iter().filter(|camera| camera.model == model);
        using.map(|camera| if camera.name.is_empty() { camera.id } else { camera.name }).collect()
    }

    /// Takes a camera away; its sessions stay.
    async fn remove(&self, id: &str) -> Result<(), Problem> {
        let _turn = self.turn.lock().await;
        if self.settings.get(id).is_none() {
            return Err(unknown(id));
        }
        self.settings.forget(id).map_err(Problem::internal)?;
        self.end(id);
        Ok(())
    }

    fn begin(&self, camera: Camera) {
        // Without its password a camera may count the attempts and lock its owner out.
        if !camera.enabled || is_lost(&camera) || self.tasks.is_closed() {
            return;
        }
        let (stop, (live_in, live)) = (CancellationToken::new(), watch::channel(None));
        let (told, mut telling) = mpsc::channel(EVENTS);
        let state = Arc::<Mutex<Option<Value>>>::default();
        let id = camera.id.clone();
        self.tasks.spawn(run(camera, self.around.clone(), told, live_in, stop.clone()));
        let (events, last) = (Arc::clone(&self.events), Arc::clone(&state));
        self.tasks.spawn(async move {
            while let Some(event) = telling.recv().await {
                let kind = kind_of(&event);
                let about = json!(event);
                if matches!(event, CameraEvent::Keepalive { .. }) {
                    *lock(&last) = Some(about.clone());
                    events.publish_passing(kind, about);
                } else {
                    events.publish(kind, about);
                }
            }
        });
        lock(&self.running).insert(id, Running { stop, live, state });
    }

    /// Tells which cameras have lost their passwords.
    pub(crate) fn report_health(&self, health: &Health) {
        let lost: Vec<String> = self
            .settings
            .all()
            .into_iter()
            .filter(|camera| camera.enabled && is_lost(camera))
            .map(|camera| format!("{}: {LOST}", camera.id))
            .collect();
        let status = if lost.is_empty() { Status::Ok } else { Status::Degraded };
        health.set("cameras", status, lost.join("; "));
    }

    fn end(&self, id: &str) {
        if let Some(running) = lock(&self.running).remove(id) {
            running.stop.cancel();
        }
    }

    /// Removes old sessions. Blocks.
    pub(crate) fn sweep(&self) {
        let mut ages = lock(&self.ages);
        let mut look = ages.look();
        let age = &mut |name: &str, began: Timestamp| look.age(name, began.into());
        let swept = retention::sweep(&self.around.root, Timestamp::now(), self.limits, age);
        if let Err(error) = swept.map(drop).and_then(|()| look.end()) {
            tracing::warn!(%error, "old sessions of cameras could not be looked through");
        }
    }

    /// Ends all cameras, their sessions on the disk.
    pub(crate) async fn close(&self) {
        for running in lock(&self.running).values() {
            running.stop.cancel();
        }
        self.tasks.close();
        if tokio::time::timeout(END, self.tasks.wait()).await.is_err() {
            tracing::warn!("cameras were still ending when the agent ended");
        }
    }
}

/// A source with the passwords of the one before where it says `***`.
fn restored(source: Source, before: Option<&Source>) -> Result<Source, String> {
    let Some(address) = source.url().and_then(Address::parse) else { return Ok(source) };
    let url = address.restored(before.and_then(Source::url).and_then(Address::parse).as_ref())?;
    Ok(source.with_url(url))
}

/// The event's name for listeners.
const fn kind_of(event: &CameraEvent) -> &'static str {
    match event {
        CameraEvent::Detection { .. } => "ai.detection",
        CameraEvent::Keepalive { .. } => "ai.keepalive",
        CameraEvent::SessionStarted { .. } => "ai.session_started",
        CameraEvent::SessionEnded { .. } => "ai.session_ended",
        CameraEvent::Lost { .. } => "camera.lost",
        CameraEvent::Back { .. } => "camera.back",
        CameraEvent::RecordingStopped { .. } => "camera.recording_stopped",
    }
}

fn not_kept(error: &io::Error) -> Problem {
    if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        return Problem::internal(error);
    }
    let detail = "The disk is full, so the camera stays as it was. Remove sessions or models, and try again.";
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", "The disk is full", detail)
}

fn refused(field: &str, detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This is no camera", detail)
        .with("param", field)
}

fn unknown(id: &str) -> Problem {
    let detail = format!("There is no camera {id}; GET /api/v1/cameras names them.");
    Problem::new(StatusCode::NOT_FOUND, "unknown-camera", "There is no such camera", detail)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
