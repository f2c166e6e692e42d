//! Engines as units of systemd, over D-Bus: `<program>@<id>.service`.
//!
//! The unit is of `Type=notify`, so its start job ends when the model has loaded. Its end is read
//! from the signals that systemd sends to subscribers; nothing is polled.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use tokio_util::task::TaskTracker;
use zbus::fdo::{PropertiesChangedStream, PropertiesProxy};
use zbus::{OwnedObjectPath, Variant};

use super::error::LaunchError;
use super::launcher::{Engine, EngineLauncher};
use super::process::{Process, Supervisor, connect};
use crate::causes::every_cause;

/// Pauses before systemd is asked again to stop a unit: the first, and the longest.
const STOP_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long a load that is not wanted any more may take to end.
const ABORT_LIMIT: Duration = Duration::from_secs(30);

const SYSTEMD: &str = "org.freedesktop.systemd1";

/// Name, description, load state, active state, sub state, followed unit, path, job, job type, job path.
type ListedUnit =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> zbus::Result<Vec<ListedUnit>>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String) -> zbus::Result<()>;
}

#[zbus::proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait Unit {
    #[zbus(property(emits_changed_signal = "false"))]
    fn active_state(&self) -> zbus::Result<String>;
}

/// Starts and supervises units.
#[derive(Debug)]
pub(super) struct SystemdLauncher {
    program: &'static str,
    sockets: PathBuf,
    manager: ManagerProxy<'static>,
    supervisors: TaskTracker,
}

impl SystemdLauncher {
    /// Starts units of the template `program`. Fails when systemd cannot be asked.
    pub(super) async fn new(program: &'static str, sockets: PathBuf) -> Result<Self, LaunchError> {
        let bus = zbus::Connection::system().await.map_err(LaunchError::NoBus)?;
        let manager = ManagerProxy::new(&bus).await?;
        // Without a subscriber systemd sends no signals.
        manager.subscribe().await.map_err(LaunchError::Subscribe)?;
        Ok(Self { program, sockets, manager, supervisors: TaskTracker::new() })
    }

    async fn launch(&self, id: &str) -> Result<Engine, LaunchError> {
        let name = unit_name(self.program, id);
        // A unit that failed before counts against its start limit otherwise.
        if let Err(error) = self.manager.reset_failed_unit(&name).await {
            tracing::debug!(%error, "nothing to reset");
        }
        let path = self
            .manager
            .load_unit(&name)
            .await
            .map_err(|source| LaunchError::UnknownUnit { unit: name.clone(), source })?;
        let properties = PropertiesProxy::builder(self.manager.inner().connection())
            .destination(SYSTEMD)
            .path(path)
            .build()
            .await?;
        let changes = properties.receive_properties_changed().await?;
        self.run_job(&name, Job::Start)
            .await
            .map_err(|source| LaunchError::NotLoaded { unit: name.clone(), source: Box::new(source) })?;
        let socket = self.sockets.join(format!("{id}.sock"));
        let (process, supervisor) = Process::supervised();
        self.supervisors.spawn(supervise(self.manager.clone(), name, changes, supervisor));
        match connect(&socket).await {
            Ok(channel) => Ok(Engine { process, channel }),
            Err(error) => {
                process.stop();
                process.ending().wait().await;
                Err(error)
            }
        }
    }

    /// Stops the unit of `id`, also one that still starts.
    async fn stop(&self, id: &str) {
        let name = unit_name(self.program, id);
        let stop = || async { self.run_job(&name, Job::Stop).await.map_err(|error| every_cause(&error)) };
        if tokio::time::timeout(ABORT_LIMIT, repeat(&name, stop)).await.is_err() {
            tracing::warn!(model = id, "a runner that is not wanted any more may be left");
        }
    }

    /// Stops every unit of the template that is not at rest.
    async fn stop_all(&self) -> Result<(), LaunchError> {
        let states = ["active", "activating", "reloading", "deactivating"];
        let pattern = format!("{}@*.service", self.program);
        let left = self.manager.list_units_by_patterns(&states, &[&pattern]).await?;
        let stops = left.into_iter().map(|unit| async move {
            tracing::info!(unit = unit.0, "stopping a runner that an earlier agent left");
            self.run_job(&unit.0, Job::Stop).await
        });
        futures::future::try_join_all(stops).await?;
        Ok(())
    }

    async fn run_job(&self, name: &str, kind: Job) -> Result<(), LaunchError> {
        // Listening first: a quick job would end before we listened.
        let mut ended = self.manager.receive_job_removed().await?;
        let job = match kind {
            Job::Start => self.manager.start_unit(name, "replace").await?,
            Job::Stop => self.manager.stop_unit(name, "replace").await?,
        };
        while let Some(signal) = ended.next().await {
            let told = signal.args()?;
            if told.job == job {
                return if told.result == "done" {
                    Ok(())
                } else {
                    Err(LaunchError::Job { unit: name.to_owned(), result: told.result.clone() })
                };
            }
        }
        Err(LaunchError::BusGone)
    }
}

impl EngineLauncher for SystemdLauncher {
    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Engine, LaunchError>> {
        Box::pin(self.launch(id))
    }

    fn abort<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(self.stop(id))
    }

    fn clear_leftovers(&self) -> BoxFuture<'_, Result<(), LaunchError>> {
        Box::pin(self.stop_all())
    }
}

enum Job {
    Start,
    Stop,
}

/// Follows the unit until it is gone, and has it stopped when that is asked for.
async fn supervise(
    manager: ManagerProxy<'static>,
    name: String,
    changes: PropertiesChangedStream,
    supervisor: Supervisor,
) {
    let reason = tokio::select! {
        reason = end_of(&manager, &name, changes) => reason,
        () = stop_when_asked(&manager, &name, &supervisor) => "its unit was stopped".into(),
    };
    supervisor.ended(reason);
}

/// Asks systemd to stop the unit when that is asked for. It has ended when that is noticed, not when this does.
async fn stop_when_asked(manager: &ManagerProxy<'static>, name: &str, supervisor: &Supervisor) {
    supervisor.stop_requested().await;
    repeat(name, || manager.stop_unit(name, "replace")).await;
    std::future::pending::<()>().await;
}

/// Repeats what stops a unit until it works, with longer and longer pauses: a runner that is left holds its memory.
async fn repeat<T, E: Display, S>(unit: &str, mut stop: impl FnMut() -> S)
where
    S: Future<Output = Result<T, E>>,
{
    let mut pause = STOP_PAUSES.0;
    while let Err(error) = stop().await {
        tracing::warn!(%error, unit, again_s = pause.as_secs(), "systemd does not stop the runner");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(STOP_PAUSES.1);
    }
}

/// Waits until the unit is gone, and says how it ended.
async fn end_of(manager: &ManagerProxy<'static>, name: &str, mut changes: PropertiesChangedStream) -> String {
    let mut result = String::new();
    // It may have ended before the first change was read.
    if has_ended(manager, name).await {
        return "its unit ended at once".into();
    }
    while let Some(change) = changes.next().await {
        let Ok(change) = change.args() else { continue };
        if let Some(more) = text(&change.changed_properties, "Result") {
            result = more;
        }
        let state = text(&change.changed_properties, "ActiveState");
        // A signal from before the start says "inactive" too, so the unit itself is asked.
        if matches!(state.as_deref(), Some("failed" | "inactive")) && has_ended(manager, name).await {
            return in_words(&result);
        }
    }
    "the system bus went away".into()
}

/// What systemd's `Result` of a service means.
fn in_words(result: &str) -> String {
    match result {
        "" | "success" => "its unit ended".into(),
        "oom-kill" => "the system ran out of memory and killed it".into(),
        "signal" => "a signal killed it, probably because memory ran out".into(),
        "core-dump" => "it crashed".into(),
        other => format!("its unit ended: {other}"),
    }
}

async fn has_ended(manager: &ManagerProxy<'static>, name: &str) -> bool {
    let state = async {
        let path = manager.load_unit(name).await?;
        let unit = UnitProxy::builder(manager.inner().connection())
            .path(path)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        unit.active_state().await
    };
    matches!(state.await.as_deref(), Ok("failed" | "inactive"))
}

fn text(properties: &HashMap<&str, Variant<'_>>, name: &str) -> Option<String> {
    properties.get(name)?.downcast_ref::<String>().ok()
}

/// The unit of a model. Identifiers hold `a-z0-9-_.` only and begin with a letter or digit; of these
/// systemd escapes `-`, which would read as `/`.
fn unit_name(program: &str, id: &str) -> String {
    format!("{program}@{}.service", id.replace('-', "\\x2d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_unit_that_cannot_be_stopped_now_is_stopped_later() {
        let begun = tokio::time::Instant::now();
        let mut attempts = 0;
        repeat("booster-runner@guide.service", || {
            attempts += 1;
            std::future::ready(if attempts < 9 { Err("the bus is busy") } else { Ok(()) })
        })
        .await;
        // 1, 2, 4, 8, 16, 32, 60 and 60 seconds.
        assert_eq!((attempts, begun.elapsed().as_secs()), (9, 183));
    }

    #[test]
    fn dashes_in_identifiers_are_escaped_as_systemd_does() {
        assert_eq!(unit_name("booster-runner", "guide"), "booster-runner@guide.service");
        assert_eq!(unit_name("booster-runner", "qwen2.5-0.5b"), "booster-runner@qwen2.5\\x2d0.5b.service");
        assert_eq!(unit_name("booster-runner", "a_b"), "booster-runner@a_b.service");
    }
}
