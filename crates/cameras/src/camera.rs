//! One camera that runs: pictures go to the worker, its answers into the state machine, and what follows
//! onto the disk and to those who listen.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actionbooster_wire::ai::v1 as ai;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::capture::Capture;
use crate::client::{Answer, Client, Link};
use crate::event::{CameraEvent, Live, Part};
use crate::frame_rate::FrameRateLimiter;
use crate::latest::Latest;
use crate::machine::{Effect, EndReason, Machine, State};
use crate::masks::Mask;
use crate::picture::{Detection, Picture};
use crate::recorder::{self, Command, Recorder};
use crate::ring::Ring;
use crate::session::{self, Limits};
use crate::settings::{Camera, Surroundings};
use crate::source::CameraState;

/// How often it tells that it runs, and how often the state machine is told the time.
const KEEPALIVE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);
/// Detections are drawn into the live picture for so long.
const FRESH: Duration = Duration::from_secs(1);
/// Events that wait for a slow listener; then the oldest go.
const MOST_WAITING: usize = 256;
/// Detections of a picture at most, and what the worker is asked for where some of them may lie in masks.
const MOST_DETECTIONS: usize = 100;
const MOST_ASKED: u32 = 1000;
/// Answers of a dwell that are kept for the session that it may become.
const MOST_PENDING: usize = 64;
/// How long its parts may take to end.
const END: Duration = Duration::from_secs(5);

/// Runs a camera until it is stopped, nobody listens to its events any more, or a part of it fails.
///
/// The camera must have passed [`Camera::check`]. When this returns, its decoder is gone and its session is on
/// the disk. A listener that is too slow misses the oldest events; the latest picture replaces the one before.
pub async fn run(
    camera: Camera,
    around: Surroundings,
    events: mpsc::Sender<CameraEvent>,
    live: watch::Sender<Option<Live>>,
    stop: CancellationToken,
) {
    let captured = Arc::new(Latest::default());
    let to_detect = Arc::new(Latest::default());
    let (states_in, mut states) = mpsc::channel(16);
    let (answers_in, mut answers) = mpsc::channel(4);
    let (link_in, mut link) = watch::channel(Link::Connecting);
    let (stopped_in, mut stopped) = mpsc::channel(8);
    let (recorder, commands) = Recorder::new();
    let parts = stop.child_token();

    let mut tasks = JoinSet::new();
    let capture =
        Capture { source: camera.source.clone(), fps: camera.fps_active, ffmpeg: around.ffmpeg.clone() };
    let (pictures, token) = (captured.clone(), parts.clone());
    tasks.spawn(async move { capture.run(&pictures, states_in, token).await });
    tasks.spawn(client(&camera, &around).run(to_detect.clone(), answers_in, link_in, parts.clone()));
    let limits = Limits {
        reserve_bytes: session::reserve(&around.root, around.reserve_bytes),
        clip_bytes: around.clip_bytes,
        free: session::free_bytes,
    };
    tasks.spawn(recorder::run(commands, limits, stopped_in));

    let mut pipeline = Pipeline::new(camera, &around.root, recorder, to_detect, live);
    let mut keepalive = interval(KEEPALIVE);
    let mut tick = interval(TICK);
    keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            picture = captured.take() => pipeline.picture(picture),
            Some(answer) = answers.recv() => pipeline.answer(answer),
            Some(state) = states.recv() => pipeline.source(state),
            Ok(()) = link.changed() => pipeline.detector(link.borrow_and_update().clone()),
            Some(reason) = stopped.recv() => pipeline.recording_stopped(reason),
            // A part that ends by itself has nothing more to do; one that panics must not be missed in silence.
            Some(Err(error)) = tasks.join_next() => {
                tracing::error!(%error, camera = pipeline.camera.id, "a part of a camera failed");
                break;
            }
            _ = tick.tick() => pipeline.tick(),
            _ = keepalive.tick() => pipeline.keepalive(),
            permit = events.reserve(), if !pipeline.waiting.is_empty() => match permit {
                Ok(permit) => if let Some(event) = pipeline.waiting.pop_front() { permit.send(event) },
                Err(_) => break,
            },
        }
    }
    parts.cancel();
    pipeline.stop();
    for event in pipeline.waiting.drain(..) {
        if events.try_send(event).is_err() {
            break;
        }
    }
    // The recorder ends with the last command, which the pipeline holds the sender of.
    drop((pipeline, answers, states, stopped));
    let ended = timeout(END, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!("a part of a camera did not end in time and was cut off");
    }
}

fn client(camera: &Camera, around: &Surroundings) -> Client {
    let init = ai::Init {
        model: camera.model.clone(),
        threshold: Some(camera.threshold),
        classes: camera.classes.clone(),
        // What lies in masks must not take the place of the rest.
        max_detections: (!camera.masks.is_empty()).then_some(MOST_ASKED),
        token: around.token.clone(),
        client: camera.id.clone(),
        ..Default::default()
    };
    Client { address: around.worker.clone(), camera: camera.id.clone(), init }
}

/// What is known while it runs. Nothing here waits.
struct Pipeline {
    camera: Camera,
    folder: PathBuf,
    recorder: Recorder,
    to_detect: Arc<Latest<Picture>>,
    live: watch::Sender<Option<Live>>,
    began: Instant,
    machine: Machine,
    frame_rate: FrameRateLimiter,
    ring: Ring,
    /// What was seen last, and when.
    lately: Option<(Instant, Vec<Detection>)>,
    /// What was seen in a dwell, and when that was known.
    pending: VecDeque<(Duration, Answer)>,
    session: Option<String>,
    source: CameraState,
    detector: Link,
    lost: [bool; 2],
    /// Events that nobody has taken yet.
    waiting: VecDeque<CameraEvent>,
    too_slow: bool,
    /// Why the latest session is not recorded to its end.
    not_recorded: Option<String>,
    drops: metrics::Counter,
}

impl Pipeline {
    fn new(
        camera: Camera,
        root: &Path,
        recorder: Recorder,
        to_detect: Arc<Latest<Picture>>,
        live: watch::Sender<Option<Live>>,
    ) -> Self {
        let span = Duration::from_millis(u64::from(camera.pre_roll_ms) + u64::from(camera.dwell_ms));
        Self {
            folder: root.join(&camera.id),
            machine: Machine::new(camera.machine()),
            drops: metrics::counter!("ai_drops_latestwins_total", "camera" => camera.id.clone()),
            camera,
            recorder,
            to_detect,
            live,
            began: Instant::now(),
            frame_rate: FrameRateLimiter::default(),
            ring: Ring::new(span),
            lately: None,
            pending: VecDeque::new(),
            session: None,
            source: CameraState::Connecting,
            detector: Link::Connecting,
            lost: [false; 2],
            waiting: VecDeque::new(),
            too_slow: false,
            not_recorded: None,
        }
    }

    fn picture(&mut self, picture: Picture) {
        self.lately.take_if(|(at, _)| at.elapsed() > FRESH);
        let detections = self.lately.as_ref().map(|(_, detections)| detections.clone()).unwrap_or_default();
        self.live.send_replace(Some(Live { jpeg: picture.jpeg.clone(), at: picture.at, detections }));
        if self.camera.record {
            if self.session.is_some() {
                self.record(Command::Record(picture.jpeg.clone()));
            } else {
                self.ring.push(picture.clone());
            }
        }
        if self.frame_rate.admits(picture.taken.saturating_duration_since(self.began), self.machine.fps())
            && self.to_detect.put(picture).is_some()
        {
            self.drops.increment(1);
        }
    }

    fn answer(&mut self, mut answer: Answer) {
        answer.detections.retain(|seen| counts(&self.camera.masks, seen));
        answer.detections.truncate(MOST_DETECTIONS);
        let seen = !answer.detections.is_empty();
        let now = self.began.elapsed();
        if seen {
            if self.pending.len() == MOST_PENDING {
                self.pending.pop_front();
            }
            self.pending.push_back((now, answer.clone()));
        }
        let effects = self.machine.observe(now, seen);
        self.follow(effects);
        if self.machine.state() == State::Idle {
            self.pending.clear();
        }
        if !seen {
            return;
        }
        self.lately = Some((Instant::now(), answer.detections.clone()));
        self.tell(CameraEvent::Detection {
            camera: self.camera.id.clone(),
            at: answer.picture.at,
            detections: answer.detections.clone(),
            session: self.session.clone(),
        });
        self.see_pending();
    }

    fn tick(&mut self) {
        let effects = self.machine.tick(self.began.elapsed());
        self.follow(effects);
    }

    fn stop(&mut self) {
        let effects = self.machine.stop(self.began.elapsed());
        self.follow(effects);
    }

    fn follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::SessionStarted { at, since } => self.start(at, since),
                Effect::SessionEnded { at, last_seen, reason } => self.end(at, last_seen, reason),
            }
        }
    }

    fn start(&mut self, at: Duration, since: Duration) {
        // What was seen before a gap does not belong to it.
        self.pending.retain(|(at, _)| *at >= since);
        // Answers come later than their pictures were taken.
        let began = self.pending.front().map_or_else(|| self.wall(since), |(_, answer)| answer.picture.at);
        let session = session::name(&self.folder, began);
        self.too_slow = false;
        self.not_recorded = None;
        self.record(Command::Begin {
            folder: self.folder.join(&session),
            camera: self.camera.id.clone(),
            began,
        });
        for picture in self.ring.drain() {
            self.record(Command::Record(picture.jpeg));
        }
        self.session = Some(session.clone());
        self.see_pending();
        let at = self.wall(at);
        self.tell(CameraEvent::SessionStarted { camera: self.camera.id.clone(), at, since: began, session });
    }

    fn end(&mut self, at: Duration, last_seen: Duration, reason: EndReason) {
        let Some(session) = self.session.take() else { return };
        let (at, last_seen) = (self.wall(at), self.wall(last_seen));
        let word = match reason {
            EndReason::Silence => "silence",
            EndReason::Stopped => "stopped",
        };
        self.record(Command::End { at, reason: word });
        let camera = self.camera.id.clone();
        self.tell(CameraEvent::SessionEnded { camera, at, last_seen, session, reason });
    }

    /// Writes down what was seen, once there is a session for it.
    fn see_pending(&mut self) {
        if self.session.is_none() {
            return;
        }
        for (_, Answer { picture, detections, .. }) in std::mem::take(&mut self.pending) {
            self.record(Command::See { at: picture.at, jpeg: picture.jpeg, detections });
        }
    }

    fn record(&mut self, command: Command) {
        if !self.recorder.send(command) && !self.too_slow {
            self.too_slow = true;
            self.recording_stopped("the disk is too slow: some of the session is not recorded".into());
        }
    }

    fn recording_stopped(&mut self, reason: String) {
        tracing::warn!(camera = self.camera.id, reason, "recording stopped");
        self.not_recorded = Some(reason.clone());
        self.tell(CameraEvent::RecordingStopped {
            camera: self.camera.id.clone(),
            at: Timestamp::now(),
            reason,
        });
    }

    fn source(&mut self, state: CameraState) {
        match &state {
            CameraState::Lost { reason } => self.lost(Part::Source, reason.clone()),
            CameraState::Live => self.back(Part::Source),
            CameraState::Ended => self.lost(Part::Source, "it is at its end".into()),
            CameraState::Connecting => {}
        }
        self.source = state;
    }

    fn detector(&mut self, link: Link) {
        match &link {
            Link::Lost { reason } => self.lost(Part::Detector, reason.clone()),
            Link::Ready => self.back(Part::Detector),
            Link::Connecting | Link::Loading => {}
        }
        self.detector = link;
    }

    /// Tells it once, however often it is tried again.
    fn lost(&mut self, part: Part, reason: String) {
        if !std::mem::replace(&mut self.lost[part as usize], true) {
            self.tell(CameraEvent::Lost {
                camera: self.camera.id.clone(),
                at: Timestamp::now(),
                part,
                reason,
            });
        }
    }

    fn back(&mut self, part: Part) {
        if std::mem::take(&mut self.lost[part as usize]) {
            self.tell(CameraEvent::Back { camera: self.camera.id.clone(), at: Timestamp::now(), part });
        }
    }

    fn keepalive(&mut self) {
        self.tell(CameraEvent::Keepalive {
            camera: self.camera.id.clone(),
            at: Timestamp::now(),
            state: self.machine.state(),
            source: self.source.clone(),
            detector: self.detector.clone(),
            session: self.session.clone(),
            recording_stopped: self.not_recorded.clone(),
        });
    }

    fn tell(&mut self, event: CameraEvent) {
        if self.waiting.len() == MOST_WAITING {
            // The beginnings and ends of sessions are worth more than what happens in between.
            let passing = |event: &CameraEvent| {
                matches!(event, CameraEvent::Detection { .. } | CameraEvent::Keepalive { .. })
            };
            let oldest = self.waiting.iter().position(passing).unwrap_or(0);
            self.waiting.remove(oldest);
            metrics::counter!("camera_events_lost_total", "camera" => self.camera.id.clone()).increment(1);
        }
        self.waiting.push_back(event);
    }

    /// The time of day of a time of the state machine.
    fn wall(&self, at: Duration) -> Timestamp {
        let ago = self.began.elapsed().saturating_sub(at);
        Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Whether its centre lies outside of all masks.
fn counts(masks: &[Mask], seen: &Detection) -> bool {
    let (x, y) = seen.centre();
    !masks.iter().any(|mask| mask.covers(x, y))
}

#[cfg(test)]
mod tests;
