//! Engines: processes that each hold one model, and the ways to start them.

mod children;
mod error;
mod launcher;
mod process;
mod systemd;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use children::ChildLauncher;
use systemd::SystemdLauncher;

pub use error::LaunchError;
pub use launcher::{Engine, EngineLauncher};
pub(crate) use process::Ending;
pub use process::{Process, Supervisor};

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
