//! How a runner process starts and ends: a unit of systemd, or a child where systemd does not run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actionbooster_chassis::Paths;
use actionbooster_wire::runner::v1::runner_client::RunnerClient;
use anyhow::{Context, Result, bail};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};
use zbus::OwnedObjectPath;

/// The largest models take minutes to read from a slow card.
const LOAD_LIMIT: Duration = Duration::from_secs(900);
/// How long a runner may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks at a process that starts or ends.
const POLL: Duration = Duration::from_millis(20);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
}

#[zbus::proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait Unit {
    #[zbus(property(emits_changed_signal = "false"))]
    fn active_state(&self) -> zbus::Result<String>;
}

/// Starts runners.
pub(crate) struct Launcher {
    sockets: PathBuf,
    manager: Option<ManagerProxy<'static>>,
}

/// A runner that was started.
pub(crate) enum Process {
    /// `booster-runner@<id>.service`.
    Unit(String),
    /// A child of the agent.
    Child(Box<Child>),
}

impl Launcher {
    /// Through systemd where it is PID 1, else as children.
    pub(crate) async fn detect(paths: &Paths) -> Result<Self> {
        let manager = if Path::new("/run/systemd/system").exists() {
            let bus = zbus::Connection::system().await.context("cannot reach the system bus")?;
            Some(ManagerProxy::new(&bus).await?)
        } else {
            None
        };
        Ok(Self { sockets: paths.runtime().join("runners"), manager })
    }

    /// Starts the runner of this model and connects to it once it has loaded.
    pub(crate) async fn start(&self, id: &str) -> Result<(Process, RunnerClient<Channel>)> {
        let socket = self.sockets.join(format!("{id}.sock"));
        let mut process = match &self.manager {
            Some(manager) => {
                let name = unit_name(id);
                // A unit that failed before counts against its start limit otherwise.
                if let Err(error) = manager.reset_failed_unit(&name).await {
                    tracing::debug!(%error, "nothing to reset");
                }
                manager
                    .start_unit(&name, "replace")
                    .await
                    .with_context(|| format!("systemd does not start {name}"))?;
                Process::Unit(name)
            }
            None => Process::Child(Box::new(spawn(id, &socket).await?)),
        };
        let started = Instant::now();
        loop {
            if let Ok(client) = connect(&socket).await {
                return Ok((process, client));
            }
            if let Some(why) = self.has_ended(&mut process).await? {
                bail!(
                    "its process ended while it loaded ({why}); the journal of booster-runner@{id} says why"
                );
            }
            if started.elapsed() > LOAD_LIMIT {
                self.stop(process).await;
                bail!("it did not load within {} minutes", LOAD_LIMIT.as_secs() / 60);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends a runner and waits until it is gone, so that its memory is free.
    pub(crate) async fn stop(&self, mut process: Process) {
        let asked = match (&mut process, &self.manager) {
            (Process::Unit(name), Some(manager)) => {
                manager.stop_unit(name, "replace").await.map(drop).map_err(anyhow::Error::from)
            }
            (Process::Child(child), _) => terminate(child).await,
            (Process::Unit(_), None) => Ok(()),
        };
        if let Err(error) = asked {
            tracing::warn!("a runner could not be told to stop: {error:#}");
        }
        let started = Instant::now();
        while started.elapsed() < STOP_LIMIT {
            match self.has_ended(&mut process).await {
                Ok(Some(_)) => return,
                Ok(None) => tokio::time::sleep(POLL).await,
                Err(error) => {
                    tracing::warn!("cannot see whether a runner ended: {error:#}");
                    return;
                }
            }
        }
        tracing::warn!("a runner did not end in time");
    }

    /// Ends runners that an earlier agent left behind. Children end with their agent by themselves.
    pub(crate) async fn stop_leftovers(&self, ids: impl IntoIterator<Item = String>) {
        if self.manager.is_none() {
            return;
        }
        for id in ids {
            if self.sockets.join(format!("{id}.sock")).exists() {
                self.stop(Process::Unit(unit_name(&id))).await;
            }
        }
    }

    /// How the process ended, if it has.
    async fn has_ended(&self, process: &mut Process) -> Result<Option<String>> {
        match process {
            Process::Child(child) => Ok(child.try_wait()?.map(|status| status.to_string())),
            Process::Unit(name) => {
                let Some(manager) = &self.manager else { return Ok(None) };
                let path = manager.load_unit(name).await?;
                let unit = UnitProxy::builder(manager.inner().connection())
                    .path(path)
                    .cache_properties(zbus::proxy::CacheProperties::No)
                    .build()
                    .await?;
                let state = unit.active_state().await?;
                Ok(matches!(state.as_str(), "failed" | "inactive").then_some(state))
            }
        }
    }
}

/// The unit of a model. Identifiers hold `a-z0-9-_.` only; `-` would read as `/` and is escaped.
fn unit_name(id: &str) -> String {
    format!("booster-runner@{}.service", id.replace('-', "\\x2d"))
}

/// A child that ends with this process; its program lies beside ours.
async fn spawn(id: &str, socket: &Path) -> Result<Child> {
    match tokio::fs::remove_file(socket).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", socket.display()));
        }
        _ => {}
    }
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

async fn terminate(child: &mut Child) -> Result<()> {
    // Runners hold nothing that must be saved.
    child.kill().await.context("the runner was already gone")
}

async fn connect(socket: &Path) -> Result<RunnerClient<Channel>> {
    let socket = socket.to_path_buf();
    // The address is not used: the connector knows the socket.
    let channel = Endpoint::from_static("http://runner.invalid")
        .connect_with_connector(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await?;
    Ok(RunnerClient::new(channel))
}

#[cfg(test)]
mod tests {
    use super::unit_name;

    #[test]
    fn dashes_in_identifiers_are_escaped_as_systemd_does() {
        assert_eq!(unit_name("guide"), "booster-runner@guide.service");
        assert_eq!(unit_name("qwen2.5-0.5b"), "booster-runner@qwen2.5\\x2d0.5b.service");
    }
}
