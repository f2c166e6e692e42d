//! The line before a loaded model: pictures that wait, and where their answers go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actionbooster_vision::{Detection, Error, Format, Limits, Spent};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

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
    pub(crate) outcome: Result<Seen, Failure>,
}

/// Why there are no detections in a picture.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// This picture came to nothing; the next one may.
    Picture(Error),
    /// The model's process is gone, and with it everything at this line.
    Gone(Arc<str>),
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

/// The line before a model.
#[derive(Debug, Default)]
pub(crate) struct Line {
    inside: Mutex<Inside>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    turns: Turns<Work>,
    closed: bool,
    /// Why the model is gone.
    gone: Option<Arc<str>>,
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
        let mut inside = self.lock();
        if let Some(why) = &inside.gone {
            work.tell(Err(Failure::Gone(Arc::clone(why))));
            return false;
        }
        let replaced = inside.turns.put(session, work).is_some();
        drop(inside);
        self.changed.notify_one();
        replaced
    }

    /// Sessions that are open.
    pub(crate) fn sessions(&self) -> usize {
        self.lock().turns.sessions()
    }

    /// Nothing more is taken from it.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// The model is gone: tells all who wait, and all who come.
    pub(crate) fn fail(&self, why: &Arc<str>) {
        let mut inside = self.lock();
        inside.gone = Some(Arc::clone(why));
        let waiting = inside.turns.take(usize::MAX);
        drop(inside);
        for work in waiting {
            work.tell(Err(Failure::Gone(Arc::clone(why))));
        }
    }

    /// Whether the model is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.lock().gone.is_some()
    }

    /// The next pictures of up to `most` sessions, waiting for one; nothing when closed.
    pub(crate) async fn take(&self, most: usize) -> Option<Vec<Work>> {
        loop {
            {
                let mut inside = self.lock();
                if inside.closed {
                    return None;
                }
                let taken = inside.turns.take(most);
                if !taken.is_empty() {
                    return Some(taken);
                }
            }
            // One that comes in between is remembered.
            self.changed.notified().await;
        }
    }
}

impl Work {
    /// Answers it.
    pub(crate) fn tell(&self, outcome: Result<Seen, Failure>) {
        let (frame_id, ts_mono_ns, ts_utc_ms) = (self.frame_id, self.ts_mono_ns, self.ts_utc_ms);
        // A client that has left, or that reads nothing, waits for no answer, and nobody waits for it.
        let _ = self.answer.try_send(Answer { frame_id, ts_mono_ns, ts_utc_ms, outcome });
    }
}
