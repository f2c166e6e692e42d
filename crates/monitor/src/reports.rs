//! What the provisioner wrote, as it wrote it.

use std::io::ErrorKind;

use actionbooster_chassis::{Json, Problem};
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;

use crate::{Monitor, Shared};

/// The provisioning report.
pub(crate) async fn provisioning(State(monitor): State<Shared>) -> Result<Json<Value>, Problem> {
    report(&monitor, "provisioning.json").await.map(Json)
}

/// The hardware inventory.
pub(crate) async fn hardware(State(monitor): State<Shared>) -> Result<Json<Value>, Problem> {
    report(&monitor, "inventory.json").await.map(Json)
}

/// Names and addresses as the provisioner last reported them; null before it has.
pub(crate) fn network(monitor: &Monitor) -> Value {
    let text = std::fs::read(monitor.paths.runtime().join("provisioning.json")).unwrap_or_default();
    let mut report: Value = serde_json::from_slice(&text).unwrap_or_default();
    report["network"].take()
}

async fn report(monitor: &Shared, name: &str) -> Result<Value, Problem> {
    let path = monitor.paths.runtime().join(name);
    match tokio::fs::read(&path).await {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Problem::internal(format!("{} is not JSON: {error}", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-provisioned",
            "The box is still being set up",
            "The provisioner has not written its report yet. Try again in a few seconds.",
        )
        .retry_after(5)),
        Err(error) => Err(Problem::internal(format!("cannot read {}: {error}", path.display()))),
    }
}
