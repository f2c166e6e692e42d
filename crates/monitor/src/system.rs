//! What needs more rights than the monitor has: asked of systemd and logind over D-Bus, where a
//! polkit rule allows exactly this.

use std::path::Path;

use actionbooster_chassis::{Json, Problem};
use axum::http::StatusCode;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

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

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Login {
    fn reboot(&self, interactive: bool) -> zbus::Result<()>;
    fn power_off(&self, interactive: bool) -> zbus::Result<()>;
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

/// Runs the provisioner again. False where systemd does not run.
pub(crate) async fn apply_settings() -> zbus::Result<bool> {
    if !systemd_runs() {
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

/// Has the consoles show the claim code that is true now. Without systemd nobody shows one.
pub(crate) async fn announce() {
    if !systemd_runs() {
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
pub(crate) async fn power(Json(power): Json<Power>) -> Result<(StatusCode, Json<Value>), Problem> {
    if !systemd_runs() {
        return Err(not_an_appliance());
    }
    let ask = async {
        let bus = zbus::Connection::system().await?;
        let login = LoginProxy::new(&bus).await?;
        match power.action {
            Action::Reboot => login.reboot(false).await,
            Action::Poweroff => login.power_off(false).await,
        }
    };
    ask.await.map_err(|error: zbus::Error| Problem::internal(format!("logind refused: {error}")))?;
    tracing::warn!("the box goes down as its owner asked");
    Ok((StatusCode::ACCEPTED, Json(json!({"accepted": true}))))
}

fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").exists()
}
