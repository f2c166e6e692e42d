//! The routes: ask for a generation, see it, cancel it.

use std::sync::Arc;
use std::time::Duration;

use actionbooster_chassis::{Json, Problem};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::assets::{AssetError, Kind};
use super::super::comfy::Comfy;
use super::super::off_thread;
use super::super::workflows::Made;
use super::job::{Job, Wanted};
use super::queue::MOST_WAITING;
use super::request::{CharacterRequest, Picture, PictureRequest, Source, invalid};
use super::studio::sentence;
use super::{Status, Work};
use crate::gateway::Gateway;

/// Seconds after which a client should try again when the queue is full.
const RETRY_AFTER_S: u64 = 30;
/// How long a cancelled generation may take to stop before the answer says that it still runs.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// `POST /image/gen`.
pub(crate) async fn image(
    State(gateway): State<Gateway>,
    Json(request): Json<PictureRequest>,
) -> Result<Response, Problem> {
    picture(&gateway, request, Made::Image, Wanted::Image).await
}

/// `POST /video/gen`.
pub(crate) async fn video(
    State(gateway): State<Gateway>,
    Json(request): Json<PictureRequest>,
) -> Result<Response, Problem> {
    picture(&gateway, request, Made::Video, Wanted::Video).await
}

async fn picture(
    gateway: &Gateway,
    request: PictureRequest,
    made: Made,
    wanted: Wanted,
) -> Result<Response, Problem> {
    let comfy = comfy(gateway)?;
    let picture = request.picture(made, &gateway.generations.library().await)?;
    check_image(gateway, &picture).await?;
    accept(gateway, comfy, wanted, Work::Picture(Box::new(picture))).await
}

/// `POST /agent/character`.
pub(crate) async fn character(
    State(gateway): State<Gateway>,
    Json(request): Json<CharacterRequest>,
) -> Result<Response, Problem> {
    let comfy = comfy(&gateway)?;
    let character = request.character(&gateway.generations.library().await)?;
    super::super::text::check_model(&gateway, character.model.as_deref()).await?;
    accept(&gateway, comfy, Wanted::Character, Work::Character(Box::new(character))).await
}

/// `GET /api/v1/generations`: newest first.
pub(crate) async fn list(State(gateway): State<Gateway>) -> Json<Value> {
    let all = gateway.generations.queue.all();
    let all: Vec<Value> = all.iter().map(|(job, place)| job.to_json(*place)).collect();
    Json(json!({"generations": all}))
}

/// `GET /api/v1/generations/{id}`.
pub(crate) async fn show(
    State(gateway): State<Gateway>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let (job, place) = gateway.generations.queue.get(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(job.to_json(place)))
}

/// `DELETE /api/v1/generations/{id}`: cancels it. One that ended stays as it is.
///
/// 200 with what it is now, or 202 while the server has not stopped yet.
pub(crate) async fn cancel(
    State(gateway): State<Gateway>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let job = gateway.generations.queue.cancel(&id).ok_or_else(|| unknown(&id))?;
    let ended = tokio::time::timeout(STOP_LIMIT, job.ended.cancelled()).await;
    let status = if ended.is_ok() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(job.to_json(None))).into_response())
}

/// `GET /api/v1/workflows`: what can be asked for, and what is wrong with files that cannot be used.
pub(crate) async fn workflows(State(gateway): State<Gateway>) -> Json<Value> {
    let library = gateway.generations.library().await;
    let described = library.workflows.values().map(|workflow| {
        json!({
            "name": workflow.name,
            "kind": workflow.kind,
            "from_image": workflow.takes(super::super::workflows::Input::Image),
            "description": workflow.description,
            "needs_vram_bytes": workflow.needs_vram_bytes,
            "checkpoint": workflow.checkpoint,
            "defaults": workflow.defaults,
        })
    });
    let backend = gateway.generations.comfy.as_ref().map(Comfy::address);
    Json(json!({"workflows": described.collect::<Vec<_>>(), "errors": library.errors, "backend": backend}))
}

fn comfy(gateway: &Gateway) -> Result<&Comfy, Problem> {
    gateway.generations.comfy.as_ref().ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "comfyui-off",
            "No server makes images here",
            "Images and videos are made by a ComfyUI server, and none is set. Write its address into \
             /etc/actionbooster/agent.toml, below [gateway]: comfyui = \"http://host:8188\", and restart \
             booster-agent.",
        )
        .with("setting", "gateway.comfyui")
    })
}

/// Queues it, when the server is there and not too many wait.
async fn accept(gateway: &Gateway, comfy: &Comfy, wanted: Wanted, work: Work) -> Result<Response, Problem> {
    gateway.assets.check_room()?;
    comfy.glance().await.map_err(|error| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "comfyui-unreachable",
            "The server that makes images is not there",
            sentence(&error.to_string()),
        )
        .with("setting", "gateway.comfyui")
        .retry_after(RETRY_AFTER_S)
    })?;
    let Some(job) = gateway.generations.queue.add(wanted, work) else {
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "queue-full",
            "Too many generations wait",
            format!("{MOST_WAITING} generations wait already; ask again when some are done, or cancel one."),
        )
        .retry_after(RETRY_AFTER_S));
    };
    Ok(accepted(&job))
}

fn accepted(job: &Arc<Job>) -> Response {
    let body = json!({"id": job.id, "status": Status::Queued, "url": job.url()});
    (StatusCode::ACCEPTED, [(header::LOCATION, job.url())], Json(body)).into_response()
}

/// An image that is named must be there, and be one.
async fn check_image(gateway: &Gateway, picture: &Picture) -> Result<(), Problem> {
    let Some(Source::Asset(id)) = &picture.image else { return Ok(()) };
    let (assets, wanted) = (Arc::clone(&gateway.assets), id.clone());
    let found = off_thread(move || match assets.get(&wanted) {
        Err(AssetError::Missing(_)) => Ok(None),
        found => found.map(Some),
    });
    match found.await? {
        Some(asset) if asset.kind == Kind::Image => Ok(()),
        Some(_) => Err(invalid("image", format!("The asset {id} is not an image."))),
        None => {
            Err(invalid("image", format!("There is no asset {id}; it may have been removed to make room.")))
        }
    }
}

fn unknown(id: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "generation-not-found",
        "There is no such generation",
        format!(
            "There is no generation {id}. Only the latest are remembered, and none over a restart; what they \
             made is under /api/v1/assets."
        ),
    )
}
