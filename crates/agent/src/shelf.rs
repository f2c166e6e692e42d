//! The models of the store as clients see them.

use actionbooster_chassis::Json;
use actionbooster_chassis::health::{Health, Status};
use actionbooster_models::Store;
use axum::extract::State;
use serde_json::{Value, json};

use crate::Shared;
use crate::runners;

/// `GET /api/v1/models`.
pub(crate) async fn list(State(agent): State<Shared>) -> Json<Value> {
    let (models, errors) = agent.store.list();
    let states = agent.pool.states();
    let listed: Vec<Value> = models
        .values()
        .map(|model| {
            let manifest = &model.manifest;
            let (state, reason) = states.get(&manifest.id).cloned().unwrap_or((runners::State::Idle, None));
            json!({
                "id": manifest.id,
                "name": manifest.name,
                "description": manifest.description,
                "languages": manifest.languages,
                "roles": manifest.roles,
                "size_bytes": manifest.size_bytes,
                "built_in": model.built_in,
                "licence": manifest.licence,
                "state": state,
                "reason": reason,
            })
        })
        .collect();
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Json(json!({"models": listed, "errors": errors}))
}

/// Says under `/health` whether the store holds a model that can be asked.
pub(crate) fn report_health(store: &Store, health: &Health) {
    let (models, errors) = store.list();
    if models.is_empty() {
        health.set("models", Status::Degraded, "there is no usable model; add one");
    } else if errors.is_empty() {
        health.set("models", Status::Ok, "");
    } else {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        health.set("models", Status::Degraded, errors.join("; "));
    }
}
