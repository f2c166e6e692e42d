//! `/api/v1/cameras`: the cameras themselves, and what they see now.

use std::convert::Infallible;
use std::sync::Arc;

use actionbooster_cameras::Camera;
use actionbooster_cameras::address::Address;
use actionbooster_chassis::{Json, Problem};
use async_stream::stream;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Cameras, LOST, is_lost, lock, unknown};
use crate::closing::Closing;

/// Between the pictures of a live view.
const BOUNDARY: &str = "picture";

/// `GET /api/v1/cameras`.
pub(crate) async fn list(State(cameras): State<Arc<Cameras>>) -> Json<Value> {
    let cameras: Vec<Value> = cameras.settings.all().iter().map(|camera| told(&cameras, camera)).collect();
    Json(json!({"cameras": cameras}))
}

/// `POST /api/v1/cameras`.
pub(crate) async fn add(
    State(cameras): State<Arc<Cameras>>,
    Json(camera): Json<Camera>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let camera = cameras.put(camera, true).await?;
    Ok((StatusCode::CREATED, Json(told(&cameras, &camera))))
}

/// `GET /api/v1/cameras/{id}`.
pub(crate) async fn show(
    State(cameras): State<Arc<Cameras>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let camera = cameras.settings.get(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(told(&cameras, &camera)))
}

/// `PUT /api/v1/cameras/{id}`: all of its settings. A running session ends. A password that comes back as `***`,
/// as it is told, stays what it was.
pub(crate) async fn change(
    State(cameras): State<Arc<Cameras>>,
    Path(id): Path<String>,
    Json(camera): Json<Camera>,
) -> Result<Json<Value>, Problem> {
    if camera.id != id {
        let detail =
            format!("The address names the camera {id} and the body {}; they must be the same.", camera.id);
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This is no camera", detail));
    }
    let camera = cameras.put(camera, false).await?;
    Ok(Json(told(&cameras, &camera)))
}

/// `DELETE /api/v1/cameras/{id}`: its sessions stay.
pub(crate) async fn remove(
    State(cameras): State<Arc<Cameras>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    cameras.remove(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/v1/cameras/{id}/snapshot`: the latest picture.
pub(crate) async fn snapshot(
    State(cameras): State<Arc<Cameras>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let live = watched(&cameras, &id)?;
    let latest = live.borrow().clone();
    let latest = latest.ok_or_else(|| {
        let detail =
            format!("The camera {id} has given no picture yet; GET /api/v1/cameras/{id} says how it stands.");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-picture", "There is no picture yet", detail)
            .retry_after(2)
    })?;
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, latest.jpeg).into_response())
}

/// `GET /api/v1/cameras/{id}/live`: pictures as they come, as browsers show them in an `img` (MJPEG). A slow
/// viewer misses pictures.
pub(crate) async fn live(
    State(cameras): State<Arc<Cameras>>,
    State(Closing(closing)): State<Closing>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let mut live = watched(&cameras, &id)?;
    live.mark_changed();
    let pictures = stream! {
        loop {
            let changed = tokio::select! {
                changed = live.changed() => changed,
                () = closing.cancelled() => return,
            };
            if changed.is_err() {
                return;
            }
            let Some(latest) = live.borrow_and_update().clone() else { continue };
            let head = format!(
                "--{BOUNDARY}\r\ncontent-type: image/jpeg\r\ncontent-length: {}\r\n\r\n",
                latest.jpeg.len()
            );
            yield Ok::<Bytes, Infallible>(head.into());
            yield Ok(latest.jpeg);
            yield Ok("\r\n".into());
        }
    };
    let kind = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store".into())];
    Ok((headers, Body::from_stream(pictures)).into_response())
}

fn watched(
    cameras: &Cameras,
    id: &str,
) -> Result<tokio::sync::watch::Receiver<Option<actionbooster_cameras::Live>>, Problem> {
    if let Some(running) = lock(&cameras.running).get(id) {
        return Ok(running.live.clone());
    }
    if cameras.settings.get(id).is_none() {
        return Err(unknown(id));
    }
    if cameras.settings.get(id).is_some_and(|camera| is_lost(&camera)) {
        let detail = format!("There are no pictures of {id}: {LOST}.");
        return Err(Problem::new(StatusCode::CONFLICT, "password-lost", "The password is lost", detail));
    }
    let detail = format!("The camera {id} is switched off; enable it to see what it sees.");
    Err(Problem::new(StatusCode::CONFLICT, "off", "The camera is off", detail))
}

/// A camera as clients see it: its settings without the password of its address, and how it stands.
fn told(cameras: &Cameras, camera: &Camera) -> Value {
    let mut told = json!(camera);
    if let Some(url) = told.pointer_mut("/source/url") {
        let address = url.as_str().and_then(Address::parse).map(|address| address.hidden());
        *url = json!(address);
    }
    let running = lock(&cameras.running);
    let state = running.get(&camera.id).map(|running| lock(&running.state).clone());
    told["running"] = json!(state.is_some());
    let state = state.flatten().unwrap_or_default();
    for part in ["state", "source_state", "detector", "session", "recording_stopped"] {
        let from = if part == "source_state" { "source" } else { part };
        told[part] = state.get(from).cloned().unwrap_or_default();
    }
    if is_lost(camera) {
        told["source_state"] = json!({"state": "lost", "reason": LOST});
    }
    told
}
