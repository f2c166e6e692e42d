//! One generation: what is known of it while it waits, runs and after it ended.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::super::assets::{Asset, Kind};
use super::super::principal::Principal;

/// What is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wanted {
    Image,
    Video,
    Character,
}

impl Wanted {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Character => "character",
        }
    }
}

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits.
    Queued,
    /// It is being made.
    Running,
    /// It was made.
    Succeeded,
    /// It could not be made.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

/// Why a generation did not come to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    Cancelled,
    /// With the reason, for people.
    Failed(String),
}

/// A generation that was accepted.
#[derive(Debug)]
pub struct Job {
    /// Its name.
    pub id: String,
    pub(super) wanted: Wanted,
    /// Who wants it, and has what is made.
    pub(super) principal: Principal,
    created_at: Timestamp,
    /// Cancelled when somebody wants it to stop.
    pub(super) cancel: CancellationToken,
    /// Cancelled when it ended, in whatever way.
    pub(super) ended: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    status: Status,
    progress: f64,
    step: String,
    reasons: Vec<String>,
    assets: Vec<(String, Kind)>,
    finished_at: Option<Timestamp>,
}

impl Job {
    pub(super) fn new(wanted: Wanted, principal: Principal, stop: &CancellationToken) -> Self {
        let state = State {
            status: Status::Queued,
            progress: 0.0,
            step: "waiting".into(),
            reasons: Vec::new(),
            assets: Vec::new(),
            finished_at: None,
        };
        Self {
            id: format!("g-{:016x}", rand::random::<u64>()),
            wanted,
            principal,
            created_at: Timestamp::now(),
            cancel: stop.child_token(),
            ended: CancellationToken::new(),
            state: Mutex::new(state),
        }
    }

    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.status = Status::Running;
        state.step = "starting".into();
    }

    /// Says what is done now. The progress never goes back.
    pub(super) fn report(&self, step: &str, progress: f64) {
        let mut state = self.state();
        step.clone_into(&mut state.step);
        state.progress = state.progress.max(progress.clamp(0.0, 1.0));
    }

    /// Adds something that the client should know of the result.
    pub(super) fn remark(&self, reason: impl Into<String>) {
        self.state().reasons.push(reason.into());
    }

    /// Adds a result. It stays even if the rest fails.
    pub(super) fn add(&self, asset: &Asset) {
        self.state().assets.push((asset.id.clone(), asset.kind));
    }

    pub(super) fn end(&self, outcome: Result<(), Stopped>) {
        let mut state = self.state();
        state.finished_at = Some(Timestamp::now());
        state.step.clear();
        state.status = match outcome {
            Ok(()) => {
                state.progress = 1.0;
                Status::Succeeded
            }
            Err(Stopped::Cancelled) => Status::Cancelled,
            Err(Stopped::Failed(reason)) => {
                state.reasons.push(reason);
                Status::Failed
            }
        };
        drop(state);
        self.ended.cancel();
    }

    pub(super) fn status(&self) -> Status {
        self.state().status
    }

    /// Where it is told.
    pub fn url(&self) -> String {
        format!("/api/v1/generations/{}", self.id)
    }

    /// What the client is told. `waiting` is its place in the queue, 1 being the next.
    pub fn to_json(&self, waiting: Option<usize>) -> Value {
        let state = self.state();
        let assets = state.assets.iter().map(|(id, kind)| {
            let url = format!("/api/v1/assets/{id}");
            json!({"id": id, "kind": kind, "file": format!("{url}/file"), "url": url})
        });
        json!({
            "id": self.id,
            "kind": self.wanted,
            "status": state.status,
            "progress": state.progress,
            "step": if state.step.is_empty() { None } else { Some(&state.step) },
            "reason": if state.reasons.is_empty() { None } else { Some(state.reasons.join(" ")) },
            "assets": assets.collect::<Vec<_>>(),
            "waiting": waiting,
            "created_at": self.created_at,
            "finished_at": state.finished_at,
            "url": self.url(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
