//! All models of the store, as the API and the health of the box show them.

use std::time::UNIX_EPOCH;

use actionbooster_chassis::Json;
use actionbooster_chassis::health::{Health, Status};
use actionbooster_models::Model;
use actionbooster_scheduler::ModelState;
use axum::extract::State;
use serde_json::{Value, json};

use super::ModelLibrary;
use super::manage::described;

/// `GET /api/v1/models`.
pub(crate) async fn list(State(library): State<ModelLibrary>) -> Json<Value> {
    let listing = library.index.list().await;
    let mut listed = Vec::with_capacity(listing.models.len());
    for model in listing.models.values() {
        listed.push(described(&library, model).await);
    }
    let (bytes, used) = library.scheduler.budget();
    let budget = json!({"bytes": (bytes > 0).then_some(bytes), "used_bytes": used});
    Json(json!({"models": listed, "errors": listing.errors, "budget": budget}))
}

/// Says under `/health` whether the store holds models that can be asked, and whether their runners live.
pub(crate) async fn report_health(library: &ModelLibrary, health: &Health) {
    let listing = library.index.list().await;
    if listing.models.is_empty() {
        health.set("models", Status::Degraded, "there is no usable model; add one");
    } else if listing.errors.is_empty() {
        health.set("models", Status::Ok, "");
    } else {
        health.set("models", Status::Degraded, listing.errors.join("; "));
    }
    let failed: Vec<String> = library
        .scheduler
        .states()
        .into_iter()
        .filter(|(id, (state, _))| *state == ModelState::Failed && listing.models.contains_key(id))
        .map(|(id, (_, reason))| format!("the model {id} keeps failing: {}", reason.unwrap_or_default()))
        .collect();
    let status = if failed.is_empty() { Status::Ok } else { Status::Degraded };
    health.set("runners", status, failed.join("; "));
}

/// When the model's file was put there, in Unix seconds; 0 when the file system does not tell.
pub(crate) fn created(model: &Model) -> u64 {
    let modified = std::fs::metadata(model.file()).and_then(|data| data.modified());
    modified.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |age| age.as_secs())
}
