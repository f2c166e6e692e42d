//! Runners as units of systemd, over D-Bus: `booster-runner@<id>.service`.
//!
//! The unit is of `Type=notify`, so its start job ends when the model has loaded. Its end is read
//! from the signals that systemd sends to subscribers; nothing is polled.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zbus::fdo::{PropertiesChangedStream, PropertiesProxy};
use zbus::{OwnedObjectPath, Variant};

use super::process::{Client, Process, Watcher, connect};

const PATTERN: &str = "booster-runner@*.service";
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

/// Starts and watches units.
#[derive(Debug)]
pub(super) struct Units {
    sockets: PathBuf,
    manager: ManagerProxy<'static>,
    watching: TaskTracker,
}

impl Units {
    pub(super) async fn new(sockets: PathBuf) -> Result<Self> {
        let bus = zbus::Connection::system().await.context("cannot reach the system bus")?;
        let manager = ManagerProxy::new(&bus).await?;
        // Without a subscriber systemd sends no signals.
        manager.subscribe().await.context("cannot subscribe to systemd")?;
        Ok(Self { sockets, manager, watching: TaskTracker::new() })
    }

    /// Starts the unit of `id` and waits until it has loaded.
    pub(super) async fn start(&self, id: &str) -> Result<(Process, Client)> {
        let name = unit_name(id);
        // A unit that failed before counts against its start limit otherwise.
        if let Err(error) = self.manager.reset_failed_unit(&name).await {
            tracing::debug!(%error, "nothing to reset");
        }
        let path =
            self.manager.load_unit(&name).await.with_context(|| format!("systemd does not know {name}"))?;
        let properties = PropertiesProxy::builder(self.manager.inner().connection())
            .destination(SYSTEMD)
            .path(path)
            .build()
            .await?;
        let changes = properties.receive_properties_changed().await?;
        self.run_job(&name, Job::Start)
            .await
            .with_context(|| format!("it did not load; `journalctl -u {name}` says why"))?;
        let socket = self.sockets.join(format!("{id}.sock"));
        let (process, stop, watcher) = Process::watched();
        self.watching.spawn(watch(self.manager.clone(), name, changes, stop, watcher));
        match connect(&socket).await {
            Ok(client) => Ok((process, client)),
            Err(error) => {
                process.stop();
                process.ending().wait().await;
                Err(error).with_context(|| format!("cannot connect to {}", socket.display()))
            }
        }
    }

    /// Stops the unit of `id`, also one that still starts.
    pub(super) async fn give_up(&self, id: &str) {
        if let Err(error) = self.run_job(&unit_name(id), Job::Stop).await {
            tracing::warn!(model = id, "a runner that is not wanted any more may be left: {error:#}");
        }
    }

    /// Ends what an earlier agent left behind.
    pub(super) async fn clear_leftovers(&self) -> Result<()> {
        let states = ["active", "activating", "reloading", "deactivating"];
        let left = self.manager.list_units_by_patterns(&states, &[PATTERN]).await?;
        let stops = left.into_iter().map(|unit| async move {
            tracing::info!(unit = unit.0, "stopping a runner that an earlier agent left");
            self.run_job(&unit.0, Job::Stop).await
        });
        futures::future::try_join_all(stops).await?;
        Ok(())
    }

    async fn run_job(&self, name: &str, kind: Job) -> Result<()> {
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
                    bail!("the job of {name} ended as {}", told.result)
                };
            }
        }
        bail!("the system bus went away")
    }
}

enum Job {
    Start,
    Stop,
}

/// Follows the unit until it is gone.
async fn watch(
    manager: ManagerProxy<'static>,
    name: String,
    mut changes: PropertiesChangedStream,
    stop: CancellationToken,
    watcher: Watcher,
) {
    let mut result = String::new();
    let mut told = false;
    // It may have ended before the first change was read.
    if has_ended(&manager, &name).await {
        watcher.ended("its unit ended at once");
        return;
    }
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = stop.cancelled(), if !told => {
                told = true;
                if let Err(error) = manager.stop_unit(&name, "replace").await {
                    tracing::warn!(%error, unit = name, "systemd does not stop the runner");
                }
                continue;
            }
        };
        let Some(change) = change else {
            watcher.ended("the system bus went away");
            return;
        };
        let Ok(change) = change.args() else { continue };
        if let Some(more) = text(&change.changed_properties, "Result") {
            result = more;
        }
        let state = text(&change.changed_properties, "ActiveState");
        // A signal from before the start says "inactive" too, so the unit itself is asked.
        if matches!(state.as_deref(), Some("failed" | "inactive")) && has_ended(&manager, &name).await {
            watcher.ended(in_words(&result));
            return;
        }
    }
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
fn unit_name(id: &str) -> String {
    format!("booster-runner@{}.service", id.replace('-', "\\x2d"))
}

#[cfg(test)]
mod tests {
    use super::unit_name;

    #[test]
    fn dashes_in_identifiers_are_escaped_as_systemd_does() {
        assert_eq!(unit_name("guide"), "booster-runner@guide.service");
        assert_eq!(unit_name("qwen2.5-0.5b"), "booster-runner@qwen2.5\\x2d0.5b.service");
        assert_eq!(unit_name("a_b"), "booster-runner@a_b.service");
    }
}
