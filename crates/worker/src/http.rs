//! Detection for programs that speak HTTP: DeepStack's route and our own.

use std::time::Instant;

use actionbooster_chassis::auth::Caller;
use actionbooster_chassis::{Json, Problem};
use actionbooster_vision::{Error, Format, Limits};
use axum::extract::{Multipart, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
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
    model: Option<String>,
    threshold: Option<f32>,
    iou: Option<f32>,
}

/// `POST /v1/vision/detection`: multipart with `image` and, if wanted, `min_confidence`, as DeepStack's clients
/// send it, and their answer.
pub(crate) async fn deepstack(
    State(worker): State<Shared>,
    caller: Caller,
    mut form: Multipart,
) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let (mut image, mut asked) = (None, Asked::default());
    let wrong = |error: axum::extract::multipart::MultipartError| invalid(error.body_text());
    while let Some(field) = form.next_field().await.map_err(wrong)? {
        match field.name() {
            Some("image") => image = Some(field.bytes().await.map_err(wrong)?),
            Some("min_confidence") => {
                let text = field.text().await.map_err(wrong)?;
                let value = text.trim().parse();
                asked.threshold =
                    Some(value.map_err(|_| {
                        invalid(format!("`min_confidence` is {text:?}; it must be a number."))
                    })?);
            }
            Some("model") => asked.model = Some(field.text().await.map_err(wrong)?),
            // Clients send keys of their own there.
            _ => {}
        }
    }
    let image = image.ok_or_else(|| invalid("There is no field `image`; send the picture in it."))?;
    let (seat, seen) = look(&worker, &caller, image, &asked).await?;
    let predictions: Vec<Value> = seen
        .detections
        .iter()
        .map(|found| {
            json!({
                "label": words::label(&seat.loaded, found.class),
                "confidence": found.score,
                "x_min": found.x.round() as i64,
                "y_min": found.y.round() as i64,
                "x_max": (found.x + found.width).round() as i64,
                "y_max": (found.y + found.height).round() as i64,
            })
        })
        .collect();
    Ok(Json(json!({
        "success": true,
        "predictions": predictions,
        "duration": started.elapsed().as_millis() as u64,
    })))
}

/// A problem in DeepStack's own shape.
pub(crate) fn deepstack_error(problem: &Problem) -> Response {
    let body = json!({"success": false, "error": problem.detail(), "duration": 0}).to_string();
    (problem.status(), [(header::CONTENT_TYPE, "application/json")], body).into_response()
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
async fn look(
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

/// The configured model, else the only one that was added, else the only one there is.
async fn usual_model(worker: &Shared) -> Result<String, Problem> {
    if !worker.model.is_empty() {
        return Ok(worker.model.clone());
    }
    let asked = Shared::clone(worker);
    let models = tokio::task::spawn_blocking(move || asked.detectors.list()).await.unwrap_or_default();
    let own: Vec<_> = models.iter().filter(|model| !model.built_in).collect();
    match (own.as_slice(), models.as_slice()) {
        ([only], _) => Ok(only.manifest.id.clone()),
        ([], [only]) => Ok(only.manifest.id.clone()),
        ([], []) => Err(invalid("There is no detector in the store; add one first.")),
        _ => {
            let ids: Vec<&str> = models.iter().map(|model| model.manifest.id.as_str()).collect();
            Err(invalid(format!("There are several detectors ({}); name one as `model`.", ids.join(", "))))
        }
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid", "This cannot be looked at", detail)
}
