//! What the files of sessions take, and how they go.

use std::time::{Duration, Instant};

use actionbooster_chassis::{Json, Problem};
use axum::extract::State;
use serde_json::{Value, json};

use crate::Shared;

/// Counting ends after this; what was not counted is told as missing.
const LIMIT: Duration = Duration::from_secs(2);

/// `GET /usage`: for the monitor, which may not look into the worker's folder.
pub(crate) async fn usage(State(worker): State<Shared>) -> Result<Json<Value>, Problem> {
    let records = worker.records.clone();
    let counted = tokio::task::spawn_blocking(move || records.usage(Instant::now() + LIMIT)).await;
    let usage = counted.map_err(Problem::internal)?;
    let item = json!({
        "id": "records",
        "name": "records",
        "bytes": usage.bytes,
        "files": usage.files,
        "free": {"path": "/api/v1/detectors/records"},
    });
    Ok(Json(json!({"parts": [{
        "kind": "detections",
        "bytes": usage.bytes,
        "files": usage.files,
        "partly": usage.partly,
        "items": [item],
    }]})))
}

/// `DELETE /api/v1/detectors/records`: the files of all sessions that have ended.
pub(crate) async fn clear(State(worker): State<Shared>) -> Result<Json<Value>, Problem> {
    let records = worker.records.clone();
    let cleared = tokio::task::spawn_blocking(move || records.clear()).await.map_err(Problem::internal)?;
    let removed = cleared
        .map_err(|error| Problem::internal(format!("files of sessions cannot be removed: {error}")))?;
    tracing::info!(removed, "files of sessions were deleted");
    Ok(Json(json!({"removed": removed})))
}
