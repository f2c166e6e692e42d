//! Ask for a generation, see it, cancel it.

use std::sync::Arc;

use actionbooster_chassis::{Json, Problem};
use actionbooster_generation::{CharacterRequest, Gateway, Job, Made, PictureRequest, Status};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::problem;
use super::requester::Requester;

/// `POST /image/gen`.
pub(crate) async fn image(
    State(gateway): State<Gateway>,
    Requester(principal): Requester,
    Json(request): Json<PictureRequest>,
) -> Result<Response, Problem> {
    gateway.picture(&principal, request, Made::Image).await.map(|job| accepted(&job)).map_err(problem)
}

/// `POST /video/gen`.
pub(crate) async fn video(
    State(gateway): State<Gateway>,
    Requester(principal): Requester,
    Json(request): Json<PictureRequest>,
) -> Result<Response, Problem> {
    gateway.picture(&principal, request, Made::Video).await.map(|job| accepted(&job)).map_err(problem)
}

/// `POST /agent/character`.
pub(crate) async fn character(
    State(gateway): State<Gateway>,
    Requester(principal): Requester,
    Json(request): Json<CharacterRequest>,
) -> Result<Response, Problem> {
    gateway.character(&principal, request).await.map(|job| accepted(&job)).map_err(problem)
}

/// `GET /api/v1/generations`: newest first.
pub(crate) async fn list(State(gateway): State<Gateway>, Requester(principal): Requester) -> Json<Value> {
    let all: Vec<Value> = gateway.jobs(&principal).iter().map(|(job, place)| job.to_json(*place)).collect();
    Json(json!({"generations": all}))
}

/// `GET /api/v1/generations/{id}`.
pub(crate) async fn show(
    State(gateway): State<Gateway>,
    Requester(principal): Requester,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let (job, place) = gateway.job(&principal, &id).map_err(problem)?;
    Ok(Json(job.to_json(place)))
}

/// `DELETE /api/v1/generations/{id}`: cancels it. One that ended stays as it is.
///
/// 200 with what it is now, or 202 while the server has not stopped yet.
pub(crate) async fn cancel(
    State(gateway): State<Gateway>,
    Requester(principal): Requester,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (job, stopped) = gateway.cancel(&principal, &id).await.map_err(problem)?;
    let status = if stopped { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(job.to_json(None))).into_response())
}

/// `GET /api/v1/workflows`: what can be asked for, and what is wrong with files that cannot be used.
pub(crate) async fn workflows(State(gateway): State<Gateway>) -> Json<Value> {
    Json(gateway.workflows().await)
}

fn accepted(job: &Arc<Job>) -> Response {
    let body = json!({"id": job.id, "status": Status::Queued, "url": job.url()});
    (StatusCode::ACCEPTED, [(header::LOCATION, job.url())], Json(body)).into_response()
}
