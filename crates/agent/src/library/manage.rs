//! One model of the store: what it is, what the owner chose for it, loading, checking, removing.

use std::sync::Arc;

use actionbooster_chassis::{Json, Problem};
use actionbooster_models::{Kind, Model, ModelSettings};
use actionbooster_scheduler::{ModelState, ScheduleError};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Failure, ModelLibrary, detectors, off_thread};
use crate::request_context::RequestContext;

/// Query of [`show`]: what the memory is estimated for.
#[derive(Deserialize)]
pub(crate) struct For {
    context: Option<u32>,
    slots: Option<u32>,
}

/// `GET /api/v1/models/{id}`.
pub(crate) async fn show(
    State(library): State<ModelLibrary>,
    Path(id): Path<String>,
    Query(wanted): Query<For>,
) -> Result<Json<Value>, Problem> {
    let model = library.index.find(&id).await.map_err(Failure::from)?;
    let mut told = described(&library, &model).await;
    if model.kind() == Kind::Detector {
        told["onnx"] = detectors::head(model).await?;
        return Ok(Json(told));
    }
    let details = library.index.details(model.clone()).await;
    let details =
        details.map_err(|reason| Problem::from(Failure::from(ScheduleError::Unusable { id, reason })))?;
    let number = |key: &str| details.metadata.get(&format!("{}.{key}", details.architecture)).cloned();
    told["gguf"] = json!({
        "architecture": details.architecture,
        "parameters": details.parameters,
        "quantisation": details.quantisation,
        "context_length": number("context_length"),
        "embedding_length": number("embedding_length"),
        "layers": number("block_count"),
        "heads": number("attention.head_count"),
        "vocabulary": details.vocabulary,
        "chat_template": !details.template.is_empty(),
        "tensors": details.tensors,
    });
    let estimate = library.index.estimate(model, wanted.context, wanted.slots).await.map_err(|reason| {
        Problem::from(Failure::from(ScheduleError::Unusable {
            id: told["id"].as_str().unwrap_or_default().into(),
            reason,
        }))
    })?;
    told["estimate"] = json!(estimate);
    Ok(Json(told))
}

/// A model as lists and single answers show it.
pub(crate) async fn described(library: &ModelLibrary, model: &Model) -> Value {
    let manifest = &model.manifest;
    if model.kind() == Kind::Detector {
        return detectors::described(model);
    }
    let states = library.scheduler.states();
    let (state, reason) = states.get(&manifest.id).cloned().unwrap_or((ModelState::Idle, None));
    let (index, id) = (Arc::clone(&library.index), manifest.id.clone());
    let choices = off_thread(move || index.store().settings(&id).map_err(Failure::from)).await;
    // Damaged settings are told in the log and do not hide the model.
    let choices = choices.unwrap_or_default();
    json!({
        "id": manifest.id,
        "kind": Kind::Language,
        "name": manifest.name,
        "description": manifest.description,
        "languages": manifest.languages,
        "roles": manifest.roles,
        "size_bytes": manifest.size_bytes,
        "sha256": manifest.sha256,
        "built_in": model.built_in,
        "licence": manifest.licence,
        "state": state,
        "reason": reason,
        "pinned": choices.pinned,
        "options": choices.options,
        "needs_bytes": library.index.memory_bytes(model.clone()).await.ok(),
    })
}

/// Body of [`change`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    pinned: Option<bool>,
    options: Option<Map<String, Value>>,
}

/// `PATCH /api/v1/models/{id}`: pins it, or changes options; an option that is null goes back to its default.
/// `applies` says whether that holds `now`, or `when_idle`: when the requests that use the model are answered.
pub(crate) async fn change(
    State(library): State<ModelLibrary>,
    Path(id): Path<String>,
    Json(change): Json<Change>,
) -> Result<Json<Value>, Problem> {
    let model = library.index.find(&id).await.map_err(Failure::from)?;
    if model.kind() == Kind::Detector {
        return Err(detectors::without_options(&id));
    }
    let (index, named) = (Arc::clone(&library.index), id.clone());
    let reshaped = off_thread(move || -> Result<bool, Problem> {
        let old = index.store().settings(&named).map_err(Failure::from)?;
        let new = changed(&old, change)?;
        index.store().set_settings(&named, &new).map_err(Failure::from)?;
        let loaded_with = |choices: &ModelSettings| {
            let mut options = choices.options.clone();
            options.keep_alive_s = None;
            options
        };
        Ok(loaded_with(&old) != loaded_with(&new))
    })
    .await?;
    library.index.forget(&id);
    library.scheduler.set_retention_policies(library.index.retention_policies().await);
    // A runner reads its options when it starts; one that works keeps the old ones until it is idle.
    let now = !reshaped || library.scheduler.renew(&id);
    let mut told = described(&library, &model).await;
    told["applies"] = json!(if now { "now" } else { "when_idle" });
    Ok(Json(told))
}

fn changed(old: &ModelSettings, change: Change) -> Result<ModelSettings, Problem> {
    let mut new = old.clone();
    new.pinned = change.pinned.unwrap_or(old.pinned);
    if let Some(options) = change.options {
        let mut all = json!(old.options);
        for (name, value) in options {
            all[name] = value;
        }
        new.options = serde_json::from_value(all).map_err(|error| {
            let detail = format!("options: {error}");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "These options cannot be kept", detail)
        })?;
    }
    Ok(new)
}

/// Query of [`remove`] and [`unload`].
#[derive(Deserialize)]
pub(crate) struct Force {
    #[serde(default)]
    force: bool,
}

/// `DELETE /api/v1/models/{id}`.
pub(crate) async fn remove(
    State(library): State<ModelLibrary>,
    Path(id): Path<String>,
    Query(force): Query<Force>,
) -> Result<StatusCode, Problem> {
    let model = library.index.find(&id).await.map_err(Failure::from)?;
    remove_model(&library, &model, force.force).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Unloads a model and takes it out of the store.
pub(super) async fn remove_model(library: &ModelLibrary, model: &Model, force: bool) -> Result<(), Problem> {
    let id = model.manifest.id.clone();
    if model.built_in {
        return Err(Failure::from(actionbooster_models::StoreError::BuiltIn(id)).into());
    }
    if model.kind() == Kind::Detector && !force {
        detectors::unused(library, &id)?;
    }
    library.scheduler.unload(&id, force).map_err(Failure::from)?;
    library.scheduler.wait_unloaded(&id).await;
    let (index, model) = (Arc::clone(&library.index), model.clone());
    off_thread(move || index.store().remove(&model).map_err(Failure::from)).await?;
    library.index.forget(&id);
    tracing::info!(model = id, "removed from the store");
    Ok(())
}

/// `POST /api/v1/models/{id}/verify`: reads the whole file.
pub(crate) async fn verify(
    State(library): State<ModelLibrary>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let model = library.index.find(&id).await.map_err(Failure::from)?;
    let sha256 = model.manifest.sha256.clone();
    let model = off_thread(move || model.verify().map(|()| model).map_err(Failure::from)).await?;
    detectors::check(&library, &model).await?;
    Ok(Json(json!({"ok": true, "sha256": sha256})))
}

/// `POST /api/v1/models/{id}/load`: returns when it is loaded.
pub(crate) async fn load(
    State(library): State<ModelLibrary>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    library
        .scheduler
        .lease(&context.lease_request(&id, library.load_timeout))
        .await
        .map_err(Failure::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/models/{id}/unload`.
pub(crate) async fn unload(
    State(library): State<ModelLibrary>,
    Path(id): Path<String>,
    Query(force): Query<Force>,
) -> Result<StatusCode, Problem> {
    library.index.find(&id).await.map_err(Failure::from)?;
    library.scheduler.unload(&id, force.force).map_err(Failure::from)?;
    library.scheduler.wait_unloaded(&id).await;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/v1/models/running`.
pub(crate) async fn running(State(library): State<ModelLibrary>) -> Json<Value> {
    let (bytes, used) = library.scheduler.budget();
    let budget = json!({"bytes": (bytes > 0).then_some(bytes), "used_bytes": used});
    Json(json!({"running": library.scheduler.running(), "budget": budget}))
}

#[cfg(test)]
mod tests {
    use actionbooster_models::ModelOptions;

    use super::*;

    #[test]
    fn options_are_set_and_taken_back() {
        let old = ModelSettings {
            pinned: true,
            options: ModelOptions { temperature: Some(0.5), top_k: Some(3), ..ModelOptions::default() },
        };
        let read = |text: &str| changed(&old, serde_json::from_str(text).expect("parses"));
        let new = read("{\"options\":{\"temperature\":null,\"keep_alive_s\":60}}").expect("accepted");
        assert_eq!((new.pinned, new.options.temperature, new.options.top_k), (true, None, Some(3)));
        assert_eq!(new.options.keep_alive_s, Some(60));
        assert!(!read("{\"pinned\":false}").expect("accepted").pinned);
        assert!(read("{\"options\":{\"colour\":1}}").is_err());
        assert!(read("{\"options\":{\"top_k\":-1}}").is_err());
    }
}
