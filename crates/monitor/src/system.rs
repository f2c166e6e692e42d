//! What needs more rights than the monitor has: asked of systemd over D-Bus, where a polkit rule allows
//! exactly this, or left as a file that a unit of systemd's waits for.

use actionbooster_chassis::{Json, Paths, Problem};
use actionbooster_storage::atomic;
use axum::extract::State;
use axum::http::StatusCode;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Shared;

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<zbus::OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<zbus::OwnedObjectPath>;
    fn subscribe(&self) -> zbus::Result<()>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: zbus::OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

/// Body of `POST /api/v1/power`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Power {
    action: Action,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Action {
    Reboot,
    Poweroff,
}

impl Action {
    /// Name of the file that `booster-power@.path` waits for, and the instance of the unit.
    const fn word(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Poweroff => "poweroff",
        }
    }
}

/// Runs the provisioner again. False where this is not the appliance.
pub(crate) async fn apply_settings(paths: &Paths) -> zbus::Result<bool> {
    if !paths.is_appliance() {
        return Ok(false);
    }
    let bus = zbus::Connection::system().await?;
    ManagerProxy::new(&bus).await?.restart_unit("booster-provisioner.service", "replace").await?;
    Ok(true)
}

/// Starts a unit and waits until it has done its work.
pub(crate) async fn run_unit(name: &str) -> anyhow::Result<()> {
    let bus = zbus::Connection::system().await?;
    let manager = ManagerProxy::new(&bus).await?;
    // Without a subscriber systemd sends no signals; listening first, a quick job is not missed.
    manager.subscribe().await?;
    let mut ended = manager.receive_job_removed().await?;
    let job = manager.start_unit(name, "replace").await?;
    while let Some(signal) = ended.next().await {
        let ended = signal.args()?;
        if *ended.job() == job {
            anyhow::ensure!(ended.result() == "done", "`journalctl -u {name}` says why it failed");
            return Ok(());
        }
    }
    anyhow::bail!("the system bus went away")
}

/// 409: what is asked would change a machine that is not ours.
pub(crate) fn not_an_appliance() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "not-an-appliance",
        "This is not the appliance",
        "The daemons run on a machine that they do not manage, so they will not change it.",
    )
}

/// Has the consoles show the claim code that is true now. Beside the appliance nobody shows one.
pub(crate) async fn announce(paths: &Paths) {
    if !paths.is_appliance() {
        return;
    }
    let ask = async {
        let bus = zbus::Connection::system().await?;
        ManagerProxy::new(&bus).await?.restart_unit("booster-announce.service", "replace").await
    };
    if let Err(error) = ask.await {
        tracing::warn!(%error, "the consoles still show the old claim code");
    }
}

/// Restarts the box or switches it off.
///
/// By a file and not by a call: neither the bus nor polkit answers for certain once the disk cannot be read, and
/// that is when a box is to be restarted.
pub(crate) async fn power(
    State(monitor): State<Shared>,
    Json(power): Json<Power>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    if !monitor.paths.is_appliance() {
        return Err(not_an_appliance());
    }
    let file = monitor.paths.runtime().join("monitor").join(power.action.word());
    // In memory, so it is quick.
    atomic::write(&file, b"")
        .map_err(|error| Problem::internal(format!("systemd cannot be told: {error}")))?;
    tracing::warn!("the box goes down as its owner asked");
    Ok((StatusCode::ACCEPTED, Json(json!({"accepted": true}))))
}
