//! What it takes to ask models.

use std::sync::Arc;
use std::time::Duration;

use actionbooster_scheduler::{LatencyEstimator, ModelIndex, Scheduler};

/// What it takes to ask models. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Inference {
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) index: Arc<ModelIndex>,
    pub(crate) latency: Arc<LatencyEstimator>,
    /// Models that are asked when a request names none; empty means every model that fits.
    pub(crate) default_models: Arc<[String]>,
    pub(crate) limits: Limits,
}

/// How long requests may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How long one waits for memory and for other loads.
    pub(crate) load_timeout: Duration,
    /// How long a model may show no sign of life.
    pub(crate) hang_timeout: Duration,
}
