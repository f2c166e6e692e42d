//! The thread that owns a loaded model: pictures in, detections out.

use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actionbooster_vision::{
    Detection, Detector, Error, Format, Frame, Limits, Load, Preprocessing, Settings, Spent,
};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tokio::sync::mpsc;

use crate::turns::Turns;

/// A picture that waits.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) frame_id: u64,
    pub(crate) ts_mono_ns: u64,
    pub(crate) ts_utc_ms: u64,
    pub(crate) format: Format,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) data: Bytes,
    pub(crate) limits: Limits,
    pub(crate) arrived: Instant,
    pub(crate) answer: mpsc::Sender<Answer>,
}

/// What became of a picture.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) frame_id: u64,
    pub(crate) ts_mono_ns: u64,
    pub(crate) ts_utc_ms: u64,
    pub(crate) outcome: Result<Seen, Error>,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) detections: Vec<Detection>,
    pub(crate) size: (u32, u32),
    pub(crate) queued: Duration,
    pub(crate) spent: Spent,
    pub(crate) together: usize,
}

/// What a loaded model is.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) labels: Vec<String>,
    pub(crate) input: (u32, u32),
    pub(crate) preprocessing: Preprocessing,
    pub(crate) head: &'static str,
    pub(crate) providers: Vec<String>,
}

/// The line before a model's thread.
#[derive(Debug, Default)]
pub(crate) struct Line {
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    turns: Turns<Work>,
    closed: bool,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins.
    pub(crate) fn enter(&self, session: u64) {
        self.lock().turns.enter(session);
    }

    /// A session ends.
    pub(crate) fn leave(&self, session: u64) {
        self.lock().turns.leave(session);
    }

    /// Puts a picture in line; true when it took the place of an older one.
    pub(crate) fn put(&self, session: u64, work: Work) -> bool {
        let replaced = self.lock().turns.put(session, work).is_some();
        self.changed.notify_one();
        replaced
    }

    /// Sessions that are open.
    pub(crate) fn sessions(&self) -> usize {
        self.lock().turns.sessions()
    }

    /// Lets the thread end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The next pictures, waiting for one; nothing when closed.
    fn take(&self, most: usize) -> Option<Vec<Work>> {
        let mut inside = self.lock();
        loop {
            if inside.closed {
                return None;
            }
            let taken = inside.turns.take(most);
            if !taken.is_empty() {
                return Some(taken);
            }
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Loads the model and works until the line is closed. `ready` hears what it is, or why it is not.
pub(crate) fn work(
    file: &Path,
    settings: &Settings,
    load: &Load,
    cpus: &[usize],
    line: &Arc<Line>,
    ready: &SyncSender<Result<About, Error>>,
) {
    // Before the model's own threads exist, so that all of them inherit it.
    if let Err(error) = pin(cpus) {
        tracing::warn!("detection runs on all processors: {error:#}");
    }
    let mut detector = match Detector::open(file, settings, load) {
        Ok(detector) => detector,
        Err(error) => {
            // Nobody waits any more when this fails.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let about = About {
        labels: detector.labels().to_vec(),
        input: detector.input_size(),
        preprocessing: detector.preprocessing().clone(),
        head: detector.head().name(),
        providers: detector.providers().iter().map(ToString::to_string).collect(),
    };
    if ready.send(Ok(about)).is_err() {
        return;
    }
    while let Some(works) = line.take(detector.most_together()) {
        detect(&mut detector, works);
    }
}

fn detect(detector: &mut Detector, works: Vec<Work>) {
    detector.clear();
    let started = Instant::now();
    let mut added: Vec<(Work, (u32, u32))> = Vec::with_capacity(works.len());
    for work in works {
        let frame = Frame { format: work.format, width: work.width, height: work.height, data: &work.data };
        match detector.add(&frame) {
            Ok(size) => added.push((work, size)),
            Err(error) => tell(&work, Err(error)),
        }
    }
    let together = added.len();
    let outcome = detector.detect(&|index| added[index].0.limits, &mut |index, detections, spent| {
        let (work, size) = &added[index];
        metrics::counter!("frames_processed_total").increment(1);
        metrics::histogram!("inference_time_ms").record(spent.inference.as_secs_f64() * 1e3);
        let queued = started.saturating_duration_since(work.arrived);
        tell(work, Ok(Seen { detections, size: *size, queued, spent, together }));
    });
    if let Err(error) = outcome {
        tracing::error!(%error, "a model failed at a picture");
        for (work, _) in &added {
            tell(work, Err(error.clone()));
        }
    }
}

fn tell(work: &Work, outcome: Result<Seen, Error>) {
    let answer =
        Answer { frame_id: work.frame_id, ts_mono_ns: work.ts_mono_ns, ts_utc_ms: work.ts_utc_ms, outcome };
    // A client that has left, or that reads nothing, waits for no answer; the thread must not wait for it.
    let _ = work.answer.try_send(answer);
}

fn pin(cpus: &[usize]) -> Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu).with_context(|| format!("there is no processor {cpu}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on {cpus:?}"))
}

/// `0-2,5` is 0, 1, 2, 5; nothing is all.
pub(crate) fn processors(text: &str) -> Result<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let wrong = || format!("{part} is not a processor or a range such as 4-7");
        let first: usize = first.parse().with_context(wrong)?;
        let last: usize = last.parse().with_context(wrong)?;
        ensure!(first <= last && last < 4096, wrong());
        cpus.extend(first..=last);
    }
    Ok(cpus)
}
