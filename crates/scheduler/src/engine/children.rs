//! Engines as children of this program, where systemd does not run (`dev`, tests, containers).

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio_util::task::TaskTracker;

use super::error::LaunchError;
use super::launcher::{Engine, EngineLauncher};
use super::process::{Process, Supervisor, connect};

/// Pause between two looks for the socket of an engine that loads.
const POLL: Duration = Duration::from_millis(20);
/// How long an engine may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(8);

/// Starts and supervises children.
#[derive(Debug)]
pub(super) struct ChildLauncher {
    program: &'static str,
    sockets: PathBuf,
    supervisors: TaskTracker,
}

impl ChildLauncher {
    /// Starts `program`, which lies beside this one or in the `PATH`.
    pub(super) fn new(program: &'static str, sockets: PathBuf) -> Self {
        Self { program, sockets, supervisors: TaskTracker::new() }
    }

    async fn launch(&self, id: &str) -> Result<Engine, LaunchError> {
        let socket = self.sockets.join(format!("{id}.sock"));
        remove(&socket).await?;
        let mut child = self.spawn(id, &socket)?;
        let listens = async {
            loop {
                match connect(&socket).await {
                    Ok(channel) => break channel,
                    Err(_) => tokio::time::sleep(POLL).await,
                }
            }
        };
        let channel = tokio::select! {
            channel = listens => channel,
            status = child.wait() => return Err(LaunchError::Ended(status?)),
        };
        let (process, supervisor) = Process::supervised();
        self.supervisors.spawn(supervise(child, supervisor, id.to_owned()));
        Ok(Engine { process, channel })
    }

    /// A child that ends with this process.
    fn spawn(&self, id: &str, socket: &Path) -> Result<Child, LaunchError> {
        let beside = std::env::current_exe()?.with_file_name(self.program);
        let program = if beside.exists() { beside } else { self.program.into() };
        Command::new(&program)
            .args(["serve", "--id", id, "--die-with-parent", "--socket"])
            .arg(socket)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| LaunchError::File { action: "start", path: program, source })
    }

    /// Removes sockets on which nobody listens. Children of an earlier program ended with it.
    async fn remove_sockets(&self) -> Result<(), LaunchError> {
        let mut entries = match tokio::fs::read_dir(&self.sockets).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|source| LaunchError::File {
                action: "read",
                path: self.sockets.clone(),
                source,
            })?,
        };
        while let Some(entry) = entries.next_entry().await? {
            remove(&entry.path()).await?;
        }
        Ok(())
    }
}

impl EngineLauncher for ChildLauncher {
    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Engine, LaunchError>> {
        Box::pin(self.launch(id))
    }

    fn abort<'a>(&'a self, _: &'a str) -> BoxFuture<'a, ()> {
        // A child ends with the future that started it.
        Box::pin(std::future::ready(()))
    }

    fn clear_leftovers(&self) -> BoxFuture<'_, Result<(), LaunchError>> {
        Box::pin(self.remove_sockets())
    }
}

/// Owns the child until it is gone.
async fn supervise(mut child: Child, supervisor: Supervisor, id: String) {
    let ended = tokio::select! {
        status = child.wait() => status,
        () = supervisor.stop_requested() => end(&mut child, &id).await,
    };
    supervisor.ended(match ended {
        // A signal that nobody here sent: the kernel's, most often.
        Ok(status) if status.signal() == Some(Signal::SIGKILL as i32) => {
            format!("{status}: something killed it, probably because memory ran out")
        }
        Ok(status) => status.to_string(),
        Err(error) => format!("its end could not be seen: {error}"),
    });
}

async fn end(child: &mut Child, id: &str) -> std::io::Result<std::process::ExitStatus> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended by itself in this instant.
        if let Err(error) = kill(Pid::from_raw(pid), Signal::SIGTERM) {
            tracing::debug!(%error, model = id, "the runner could not be told to stop");
        }
    }
    if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
        return status;
    }
    tracing::warn!(model = id, "the runner did not stop when told to; killing it");
    child.start_kill()?;
    child.wait().await
}

async fn remove(socket: &Path) -> Result<(), LaunchError> {
    match tokio::fs::remove_file(socket).await {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(LaunchError::File { action: "remove", path: socket.to_path_buf(), source })
        }
        _ => Ok(()),
    }
}
