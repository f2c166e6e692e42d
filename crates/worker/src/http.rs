//! Detection for programs that speak HTTP.

use std::time::Instant;

use actionbooster_chassis::auth::Caller;
use actionbooster_chassis::{Json, Problem};
use actionbooster_vision::{Error, Format, Limits};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::Shared;
use crate::detectors::{OpenError, Seat};
use crate::line::{Failure, Seen, Work};
use crate::quotas::{ClientId, Refusal};
use crate::words;

/// What is asked besides the picture.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) model: Option<String>,
    pub(crate) threshold: Option<f32>,
    iou: Option<f32>,
}

/// `POST /v1/detection?model=…&threshold=…`: a JPEG, PNG or WebP as the body.
pub(crate) async fn detection(
    State(worker): State<Shared>,
    caller: Caller,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("image/jpeg");
    let pictures = ["image/jpeg", "image/png", "image/webp", "application/octet-stream"];
    if !kind.split(';').next().is_some_and(|kind| pictures.contains(&kind.trim())) {
        return Err(invalid(format!("The body is {kind}; send a JPEG, a PNG or a WebP.")));
    }
    let (seat, seen) = look(&worker, &caller, body, &asked).await?;
    let detections: Vec<Value> = seen
        .detections
        .iter()
        .map(|found| {
            json!({
                "class_id": found.class,
                "label": words::label(&seat.loaded, found.class),
                "score": found.score,
                "box": {"x": found.x, "y": found.y, "width": found.width, "height": found.height},
            })
        })
        .collect();
    let timings = words::timings(&seen);
    Ok(Json(json!({
        "model": seat.loaded.id,
        "model_id": seat.loaded.model_id,
        "width": seen.size.0,
        "height": seen.size.1,
        "providers": seat.loaded.about.providers,
        "detections": detections,
        "timings": {
            "queue_us": timings.queue_us,
            "decode_us": timings.decode_us,
            "resize_us": timings.resize_us,
            "inference_us": timings.inference_us,
            "postprocess_us": timings.postprocess_us,
        },
    })))
}

/// `GET /api/v1/detectors`: what can be asked, and what the worker does.
pub(crate) async fn detectors(State(worker): State<Shared>) -> Json<Value> {
    let asked = Shared::clone(&worker);
    let models = tokio::task::spawn_blocking(move || asked.detectors.list()).await.unwrap_or_default();
    let loaded = worker.detectors.loaded();
    let told: Vec<Value> = models
        .iter()
        .map(|model| {
            let id = &model.manifest.id;
            json!({
                "id": id,
                "name": model.manifest.name,
                "size_bytes": model.manifest.size_bytes,
                "sha256": model.manifest.sha256,
                "licence": model.manifest.licence,
                "description": model.manifest.description,
                "built_in": model.built_in,
                "loaded": loaded.contains_key(id),
                "sessions": loaded.get(id).copied().unwrap_or(0),
            })
        })
        .collect();
    Json(json!({"state": worker.detectors.state().name(), "detectors": told}))
}

/// One picture, one answer. What a picture is, its first bytes say.
pub(crate) async fn look(
    worker: &Shared,
    caller: &Caller,
    image: Bytes,
    asked: &Asked,
) -> Result<(Seat, Seen), Problem> {
    let format = Format::of(&image)
        .ok_or_else(|| invalid("This is neither a JPEG nor a PNG nor a WebP; send one of them."))?;
    let usual = Limits::default();
    let share = |name: &str, given: Option<f32>, usual: f32| match given {
        None => Ok(usual),
        Some(value) if (0.0..=1.0).contains(&value) => Ok(value),
        Some(value) => Err(invalid(format!("`{name}` is {value}; it must be between 0 and 1."))),
    };
    let limits = Limits {
        threshold: share("threshold", asked.threshold, usual.threshold)?,
        iou: share("iou", asked.iou, usual.iou)?,
        ..usual
    };
    let model = match &asked.model {
        Some(model) => model.clone(),
        None => usual_model(worker).await?,
    };
    let client = ClientId::of_caller(caller);
    let seat = worker.detectors.seat(&client, &model, None).await.map_err(|error| refusal(&error))?;
    let (sender, mut answers) = mpsc::channel(1);
    let work = Work {
        frame_id: 0,
        ts_mono_ns: 0,
        ts_utc_ms: 0,
        format,
        width: 0,
        height: 0,
        data: image,
        limits,
        arrived: Instant::now(),
        answer: sender,
    };
    seat.loaded.line.put(seat.session, work);
    let answer = answers.recv().await.ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "The worker is stopping",
            "Ask again in a moment.",
        )
    })?;
    match answer.outcome {
        Ok(seen) => Ok((seat, seen)),
        Err(Failure::Picture(error @ Error::Frame(_))) => Err(invalid(error.to_string())),
        Err(Failure::Picture(error)) => Err(Problem::internal(error)),
        Err(Failure::Gone(why)) => {
            let title = "The detector is gone";
            let detail = format!("{why}; it is loaded again when it is asked again.");
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "detector-gone", title, detail).retry_after(1))
        }
    }
}

fn refusal(error: &OpenError) -> Problem {
    let (status, kind) = match error {
        OpenError::Unknown { .. } => (StatusCode::NOT_FOUND, "model_not_found"),
        OpenError::Unusable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "model_unusable"),
        OpenError::Refused(Refusal::Sessions { .. } | Refusal::Models { .. }) => {
            (StatusCode::TOO_MANY_REQUESTS, "too-many")
        }
        OpenError::Refused(Refusal::All(_)) | OpenError::Full { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "busy")
        }
        OpenError::Closing => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    let problem = Problem::new(status, kind, "The detector cannot be used", error.to_string());
    match error {
        OpenError::Refused(_) | OpenError::Full { .. } => problem.retry_after(1),
        _ => problem,
    }
}

/// The configured model, else the first by id of those that were added, else the first there is.
async fn usual_model(worker: &Shared) -> Result<String, Problem> {
    if !worker.model.is_empty() {
        return Ok(worker.model.clone());
    }
    let asked = Shared::clone(worker);
    let models = tokio::task::spawn_blocking(move || asked.detectors.list()).await.unwrap_or_default();
    let usual = models.iter().find(|model| !model.built_in).or(models.first());
    let missing = || invalid("There is no detector in the store; add one first.");
    usual.map(|model| model.manifest.id.clone()).ok_or_else(missing)
}

pub(crate) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid", "This cannot be looked at", detail)
}
