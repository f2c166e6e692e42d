//! Which models are loaded, and who may use them.
//!
//! [`ModelIndex`] knows the models of the store and the memory each of them needs, [`LatencyEstimator`] how quick
//! each has been. A [`LeaseRequest`] says who wants which model, and a [`ScheduleError`] why it cannot be used.

mod causes;
mod circuit_breaker;
mod engine;
mod error;
mod index;
mod latency;
mod request;

pub use causes::with_causes;
pub use circuit_breaker::CircuitBreaker;
pub use engine::{Ending, Engine, EngineLauncher, LaunchError, Process, Supervisor, detect_launcher};
pub use error::ScheduleError;
pub use index::{Footprint, Listing, MemoryEstimate, ModelDetails, ModelIndex};
pub use latency::LatencyEstimator;
pub use request::{KeepAlive, LeaseRequest, Priority, RetentionPolicy};
