//! What a way to start engines must be able to do.

use std::fmt::Debug;

use futures::future::BoxFuture;
use tonic::transport::Channel;

use super::error::LaunchError;
use super::process::Process;

/// A way to start engines.
///
/// Every engine answers `Describe` of `proto/runner.proto`, whatever else it speaks: that is how the memory it takes
/// is known.
pub trait EngineLauncher: Debug + Send + Sync {
    /// Starts the engine of this model and connects to it once it has loaded.
    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Engine, LaunchError>>;

    /// Ends what a [`Self::start`] that was dropped has begun.
    fn abort<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()>;

    /// Ends what an earlier program left behind.
    fn clear_leftovers(&self) -> BoxFuture<'_, Result<(), LaunchError>>;
}

/// An engine that has loaded its model.
#[derive(Debug)]
pub struct Engine {
    /// Its process.
    pub process: Process,
    /// The connection to it.
    pub channel: Channel,
}
