//! Detection as DeepStack's clients ask for it: its routes, its form, its answers.
//!
//! They send their key as a field of the form. So these routes judge it themselves, before they read the picture.

use std::time::Instant;

use actionbooster_chassis::auth::{Caller, Scope, forbidden, unauthenticated};
use actionbooster_chassis::{Json, Problem};
use axum::Extension;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{Multipart, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::Shared;
use crate::http::{Asked, invalid, look};
use crate::words;

/// Bytes of a field that is no picture.
const FIELD_LIMIT: usize = 4096;

/// `POST /v1/vision/detection`: what is in the picture.
pub(crate) async fn detection(
    State(worker): State<Shared>,
    caller: Option<Extension<Caller>>,
    form: Multipart,
) -> Result<Json<Value>, Problem> {
    answer(worker, caller.map(known), form, None).await
}

/// `POST /v1/vision/custom/{name}`: the same by the detector of this name.
pub(crate) async fn custom(
    State(worker): State<Shared>,
    Path(name): Path<String>,
    caller: Option<Extension<Caller>>,
    form: Multipart,
) -> Result<Json<Value>, Problem> {
    answer(worker, caller.map(known), form, Some(name)).await
}

/// `POST /v1/vision/custom/list`: the detectors that can be named.
pub(crate) async fn list(
    State(worker): State<Shared>,
    caller: Option<Extension<Caller>>,
    form: Option<Multipart>,
) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let key = match form {
        Some(mut form) if caller.is_none() => key_of(&mut form).await?,
        _ => None,
    };
    admitted(&worker, caller.map(known), key).await?;
    let models = tokio::task::spawn_blocking(move || worker.detectors.list()).await.unwrap_or_default();
    let names: Vec<&str> = models.iter().map(|model| model.manifest.id.as_str()).collect();
    Ok(Json(json!({"success": true, "models": names, "duration": milliseconds(started)})))
}

/// `GET /v1/status/ping`: that somebody is there.
pub(crate) async fn ping() -> Json<Value> {
    Json(json!({"success": true}))
}

/// A problem in DeepStack's own shape.
pub(crate) fn error_shape(problem: &Problem) -> Response {
    let body = json!({"success": false, "error": problem.detail(), "duration": 0}).to_string();
    (problem.status(), [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn answer(
    worker: Shared,
    mut caller: Option<Caller>,
    mut form: Multipart,
    model: Option<String>,
) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let (mut image, mut key, mut asked) = (None, None, Asked::default());
    while let Some(field) = form.next_field().await.map_err(|error| wrong(&error))? {
        match field.name() {
            Some("image") => {
                caller = Some(admitted(&worker, caller, key.take()).await?);
                image = Some(field.bytes().await.map_err(|error| wrong(&error))?);
            }
            Some("api_key") => key = Some(text(field).await?),
            Some("min_confidence") => {
                let text = text(field).await?;
                let number = text.trim().parse();
                let number = number
                    .map_err(|_| invalid(format!("`min_confidence` is {text:?}; it must be a number.")))?;
                asked.threshold = Some(number);
            }
            Some("model") => asked.model = Some(text(field).await?),
            // Clients send fields of their own there.
            _ => {}
        }
    }
    let caller = admitted(&worker, caller, key).await?;
    let image: Bytes = image.ok_or_else(|| invalid("There is no field `image`; send the picture in it."))?;
    asked.model = model.or(asked.model);
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
        "duration": milliseconds(started),
    })))
}

/// Who may use these routes: the caller that the request's head names, else the key of its form.
async fn admitted(worker: &Shared, caller: Option<Caller>, key: Option<String>) -> Result<Caller, Problem> {
    let caller = match (caller, key) {
        (Some(caller), _) => caller,
        (None, Some(key)) => {
            let auth = worker.auth.clone();
            // SQLite blocks, for as long as the monitor commits.
            let asked = tokio::task::spawn_blocking(move || auth.of_key(key.trim())).await;
            asked.map_err(Problem::internal)??.ok_or_else(unauthenticated)?
        }
        (None, None) => {
            let problem = unauthenticated();
            let detail = "Send an API key in the field `api_key`, before the picture, or as \
                          `Authorization: Bearer ab_…`. Keys are made in the portal under Settings.";
            return Err(Problem::new(problem.status(), "unauthenticated", "Not logged in", detail));
        }
    };
    if caller.may(Scope::Infer) { Ok(caller) } else { Err(forbidden(&[Scope::Infer])) }
}

/// The key in a form.
async fn key_of(form: &mut Multipart) -> Result<Option<String>, Problem> {
    while let Some(field) = form.next_field().await.map_err(|error| wrong(&error))? {
        if field.name() == Some("api_key") {
            return text(field).await.map(Some);
        }
    }
    Ok(None)
}

/// A field that is no picture.
async fn text(mut field: Field<'_>) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|error| wrong(&error))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > FIELD_LIMIT {
            let name = field.name().unwrap_or_default();
            return Err(invalid(format!("`{name}` has more than {FIELD_LIMIT} bytes.")));
        }
    }
    String::from_utf8(bytes).map_err(|_| invalid("A field of the form is no text."))
}

fn known(Extension(caller): Extension<Caller>) -> Caller {
    caller
}

fn wrong(error: &MultipartError) -> Problem {
    invalid(error.body_text())
}

fn milliseconds(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
