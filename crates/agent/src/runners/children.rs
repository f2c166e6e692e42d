//! Runners as children of the agent, where systemd does not run (`dev`, tests, containers).

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::process::{Client, Process, Watcher, connect};

/// Pause between two looks for the socket of a runner that loads.
const POLL: Duration = Duration::from_millis(20);
/// How long a runner may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(8);

/// Starts and watches children.
#[derive(Debug)]
pub(super) struct Children {
    sockets: PathBuf,
    watching: TaskTracker,
}

impl Children {
    pub(super) fn new(sockets: PathBuf) -> Self {
        Self { sockets, watching: TaskTracker::new() }
    }

    /// Starts the runner of `id` and waits until it has loaded.
    pub(super) async fn start(&self, id: &str) -> Result<(Process, Client)> {
        let socket = self.sockets.join(format!("{id}.sock"));
        remove(&socket).await?;
        let mut child = spawn(id, &socket)?;
        let listens = async {
            loop {
                match connect(&socket).await {
                    Ok(client) => break client,
                    Err(_) => tokio::time::sleep(POLL).await,
                }
            }
        };
        let client = tokio::select! {
            client = listens => client,
            status = child.wait() => bail!("its process ended while it loaded ({}); its log says why", status?),
        };
        let (process, stop, watcher) = Process::watched();
        self.watching.spawn(watch(child, stop, watcher, id.to_owned()));
        Ok((process, client))
    }

    /// Removes sockets on which nobody listens. Children of an earlier agent ended with it.
    pub(super) async fn clear_leftovers(&self) -> Result<()> {
        let mut entries = match tokio::fs::read_dir(&self.sockets).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.with_context(|| format!("cannot read {}", self.sockets.display()))?,
        };
        while let Some(entry) = entries.next_entry().await? {
            remove(&entry.path()).await?;
        }
        Ok(())
    }
}

/// A child that ends with this process; its program lies beside ours.
fn spawn(id: &str, socket: &Path) -> Result<Child> {
    let beside = std::env::current_exe()?.with_file_name("booster-runner");
    let program = if beside.exists() { beside } else { "booster-runner".into() };
    Command::new(&program)
        .args(["serve", "--id", id, "--die-with-parent", "--socket"])
        .arg(socket)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// Owns the child until it is gone.
async fn watch(mut child: Child, stop: CancellationToken, watcher: Watcher, id: String) {
    let ended = tokio::select! {
        status = child.wait() => status,
        () = stop.cancelled() => end(&mut child, &id).await,
    };
    watcher.ended(match ended {
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

async fn remove(socket: &Path) -> Result<()> {
    match tokio::fs::remove_file(socket).await {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", socket.display()))
        }
        _ => Ok(()),
    }
}
