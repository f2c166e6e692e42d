//! Engines: processes that each hold one model, and the ways to start them.

mod children;
mod error;
mod process;
mod systemd;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use tonic::transport::Channel;

use children::ChildLauncher;
use systemd::SystemdLauncher;

pub use error::LaunchError;
pub(crate) use process::Ending;
pub use process::{Process, Supervisor};

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

/// Starts engines through systemd where it is PID 1, as units `<program>@<model>.service`; else as children, of the
/// `program` that lies beside this one.
///
/// Engines listen on `<model>.sock` in the folder `sockets`. Fails when the system bus cannot be reached.
pub async fn detect_launcher(
    program: &'static str,
    sockets: PathBuf,
) -> Result<Arc<dyn EngineLauncher>, LaunchError> {
    if Path::new("/run/systemd/system").exists() {
        Ok(Arc::new(SystemdLauncher::new(program, sockets).await?))
    } else {
        Ok(Arc::new(ChildLauncher::new(program, sockets)))
    }
}
