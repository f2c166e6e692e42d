//! The store over HTTP: what is there, what comes in, and what the owner chose for each model.

pub(crate) mod catalog;
pub(crate) mod detectors;
pub(crate) mod imports;
mod list;
pub(crate) mod manage;
mod pull;
pub(crate) mod uploads;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actionbooster_chassis::Problem;
use actionbooster_chassis::ages::Ages;
use actionbooster_models::{Incoming, IncomingError, StoreError};
use actionbooster_scheduler::{ModelIndex, ScheduleError, Scheduler, with_causes};
use actionbooster_storage::Shortage;
use anyhow::Context;
use axum::http::StatusCode;

use crate::cameras::Cameras;
use crate::problems;

pub(crate) use catalog::Shop;
pub(crate) use imports::Imports;
pub(crate) use list::{created, list, report_health};
pub(crate) use pull::{copy, delete, pull};

/// What it takes to look after the store. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct ModelLibrary {
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) index: Arc<ModelIndex>,
    /// How long a load waits for memory and for other loads.
    pub(crate) load_timeout: Duration,
    /// The store's models on their way in.
    pub(crate) incoming: Incoming,
    /// How long uploads are left alone.
    pub(crate) upload_ages: Arc<Mutex<Ages>>,
    pub(crate) imports: Arc<Imports>,
    pub(crate) shop: Arc<Shop>,
    /// They use detectors of the store.
    pub(crate) cameras: Arc<Cameras>,
}

impl ModelLibrary {
    /// Removes uploads that nobody went on with.
    pub(crate) async fn tidy_uploads(&self) {
        let (incoming, ages) = (self.incoming.clone(), Arc::clone(&self.upload_ages));
        let tidied = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
            let mut ages = ages.lock().unwrap_or_else(PoisonError::into_inner);
            let mut look = ages.look();
            incoming.tidy(|name, dated| look.age(name, dated))?;
            look.end().context("the ages of uploads cannot be kept")
        });
        match tidied.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{error:#}"),
            Err(error) => tracing::warn!(%error, "the uploads were not tidied"),
        }
    }
}

/// Bytes of one piece of an upload at most; nginx and the daemon accept no larger body there.
pub(crate) const PIECE: usize = 64 << 20;
/// Runs work on the store off the runtime's threads.
async fn off_thread<T: Send + 'static, E: Into<Problem> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?.map_err(Into::into)
}

/// A failure of the store or the scheduler as a problem.
pub(crate) struct Failure(Problem);

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

impl From<ScheduleError> for Failure {
    fn from(error: ScheduleError) -> Self {
        Self(problems::scheduling(&error))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (status, kind, title) = match &error {
            StoreError::Missing(_) => (StatusCode::NOT_FOUND, "model_not_found", "There is no such model"),
            StoreError::BuiltIn(_) => (StatusCode::FORBIDDEN, "built-in", "The model stays"),
            StoreError::Settings { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "These options cannot be kept")
            }
            StoreError::Write { .. } | StoreError::Read { .. } => {
                return Self(Problem::internal(with_causes(&error)));
            }
            _ => (StatusCode::CONFLICT, "model_damaged", "The model is not sound"),
        };
        Self(Problem::new(status, kind, title, with_causes(&error)))
    }
}

impl From<IncomingError> for Failure {
    fn from(error: IncomingError) -> Self {
        use IncomingError as E;
        let (status, kind, title) = match &error {
            E::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This cannot be added"),
            E::Taken(_) => (StatusCode::CONFLICT, "taken", "There is such a model already"),
            E::Coming { .. } => (StatusCode::CONFLICT, "coming", "The model is being added already"),
            E::Missing(_) => (StatusCode::NOT_FOUND, "upload-not-found", "There is no such upload"),
            E::Busy(_) => (StatusCode::CONFLICT, "busy", "Somebody else is writing"),
            E::Offset { .. } => (StatusCode::CONFLICT, "offset", "Go on from another byte"),
            E::TooMuch { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-much", "More than announced"),
            E::Unfinished { .. } => (StatusCode::CONFLICT, "unfinished", "Some bytes are missing"),
            E::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "disk-full", "The disk is full"),
            E::Digest { .. } | E::Refused(_) | E::Detector(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "model_refused", "The file is refused")
            }
            E::Store(_) | E::Io { .. } => return Self(Problem::internal(with_causes(&error))),
        };
        let problem = Problem::new(status, kind, title, with_causes(&error));
        Self(match error {
            E::Offset { received } | E::Unfinished { received, .. } => {
                problem.with("received_bytes", received)
            }
            E::Coming { upload, .. } => problem.with("upload", upload),
            E::Full(Shortage::Bytes { needed, free }) => {
                problem.with("missing_bytes", needed.saturating_sub(free))
            }
            _ => problem,
        })
    }
}
