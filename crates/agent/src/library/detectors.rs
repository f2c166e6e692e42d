//! Detectors of the store, where they differ from language models.

use actionbooster_cameras::ClassesError;
use actionbooster_chassis::{Json, Problem};
use actionbooster_models::{Kind, Model};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Failure, ModelLibrary, off_thread};

/// A detector as answers show it. The worker says whether it is loaded: `GET /api/v1/detectors`.
pub(super) fn described(model: &Model) -> Value {
    let manifest = &model.manifest;
    json!({
        "id": manifest.id,
        "kind": Kind::Detector,
        "name": manifest.name,
        "description": manifest.description,
        "size_bytes": manifest.size_bytes,
        "sha256": manifest.sha256,
        "built_in": model.built_in,
        "licence": manifest.licence,
    })
}

/// What its file says of itself; null for a file that is not ONNX.
pub(super) async fn head(model: Model) -> Result<Value, Problem> {
    let head = off_thread(move || model.onnx().map_err(Failure::from)).await?;
    Ok(head.map_or(Value::Null, |head| {
        json!({
            "ir_version": head.ir_version,
            "opset": head.opset,
            "nodes": head.nodes,
            "weights_bytes": head.weights_bytes,
        })
    }))
}

/// `GET /api/v1/models/{id}/classes`: what a detector can see. The worker loads it to know.
pub(crate) async fn classes(
    State(library): State<ModelLibrary>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let model = library.index.find(&id).await.map_err(Failure::from)?;
    if model.kind() != Kind::Detector {
        let detail = format!("{id} is a language model; only detectors have classes.");
        return Err(Problem::new(StatusCode::CONFLICT, "no-detector", "This is no detector", detail));
    }
    let classes = library.cameras.classes(&id).await.map_err(|reason| {
        let detail = format!("The worker cannot say what {id} sees: {reason}.");
        let title = "The detector cannot be asked";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "detector-unavailable", title, detail).retry_after(5)
    })?;
    Ok(Json(json!({"classes": classes})))
}

/// Has the worker load a detector once: what cannot work is told when it comes, not when a camera needs it. A worker
/// that is not there says nothing against it.
pub(super) async fn check(library: &ModelLibrary, model: &Model) -> Result<(), Problem> {
    if model.kind() != Kind::Detector {
        return Ok(());
    }
    let id = &model.manifest.id;
    match library.cameras.classes(id).await {
        Ok(_) => Ok(()),
        Err(ClassesError::Unanswered(reason)) => {
            tracing::info!(model = id, reason, "the detector was not tried");
            Ok(())
        }
        Err(ClassesError::Unusable(reason)) => {
            let detail = format!("{id} is in the store, but does not work: {reason}.");
            let title = "The detector does not work";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "model_unusable", title, detail))
        }
    }
}

/// Refuses options for a detector.
pub(super) fn without_options(id: &str) -> Problem {
    let detail = format!(
        "{id} is a detector: it has no options, and is loaded when a camera needs it. \
         Threshold, classes and rates are settings of each camera."
    );
    Problem::new(StatusCode::CONFLICT, "no-options", "A detector has no options", detail)
}

/// Refuses when cameras need the detector.
pub(super) fn unused(library: &ModelLibrary, id: &str) -> Result<(), Problem> {
    let cameras = library.cameras.that_use(id);
    if cameras.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "These cameras look through {id}: {}. Choose another detector for them first, or add ?force=true.",
        cameras.join(", ")
    );
    Err(Problem::new(StatusCode::CONFLICT, "in-use", "Cameras use this detector", detail))
}
