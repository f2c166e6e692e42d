//! The scheduler of models: which of them are loaded, and who may use them.
//!
//! [`ModelIndex`] knows the models of the store and the memory each of them needs. A [`LeaseRequest`] waits in the
//! admission queue of its model, whose engine an [`EngineLauncher`] starts when it is not there; idle ones are evicted
//! for it. The [`Lease`] keeps the model loaded and gives the connection to its engine. [`ScheduleError`] says why a
//! model cannot be used, and an [`EventSink`] hears what happens to models.
//!
//! Modules depend on each other in one direction, from [`Scheduler`] down: `scheduler` -> `loader` -> `memory` ->
//! `registry` -> `runner`, `admission` -> `error`. A `report` and a `lease` are made of what the `registry` holds.
//! `eviction`, `fair_queue` and `circuit_breaker` decide and do no I/O.
//!
//! Metrics: `runners_loaded`, `runners_estimated_bytes`, `runner_load_seconds`, `runner_evictions_total`, and with the
//! label `model`: `runner_crashes_total`, `runner_load_failures_total`, `model_queue_refusals_total`,
//! `model_estimate_ratio`.

mod admission;
mod causes;
mod circuit_breaker;
mod engine;
mod error;
mod events;
mod eviction;
mod fair_queue;
mod index;
mod latency;
mod lease;
mod loader;
mod memory;
mod precedence;
mod registry;
mod report;
mod request;
mod runner;
mod scheduler;
mod stop_reason;

pub use causes::with_causes;
pub use engine::{Engine, EngineLauncher, LaunchError, Process, Supervisor, detect_launcher};
pub use error::ScheduleError;
pub use events::{EventKind, EventSink, ModelEvent};
pub use index::{Footprint, Listing, MemoryEstimate, ModelDetails, ModelIndex};
pub use latency::LatencyEstimator;
pub use lease::Lease;
pub use registry::Limits;
pub use report::{ModelState, RunningModel};
pub use request::{KeepAlive, LeaseRequest, Priority, RetentionPolicy};
pub use scheduler::{Dependencies, Scheduler};
