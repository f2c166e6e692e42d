//! The OpenAI API as its official clients need it: models, chat and text completions, embeddings.

mod completions;
mod embeddings;
mod reply;
mod request;
mod sampling;

use actionbooster_chassis::{Json, Problem};
use actionbooster_models::Model;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::ask::{ask, begun};
use crate::inference::{Inference, id_of};
use crate::library::created;
use crate::problems::unknown_model;
use crate::request_context::RequestContext;

pub(crate) use completions::completions;
pub(crate) use embeddings::embeddings;
use reply::Head;
pub(crate) use reply::error_shape;
use request::ChatRequest;

/// `GET /v1/models`.
pub(crate) async fn models(State(inference): State<Inference>) -> Json<Value> {
    let listing = inference.index.list().await;
    let data: Vec<Value> = listing.models.values().map(described).collect();
    Json(json!({"object": "list", "data": data}))
}

/// `GET /v1/models/{id}`.
pub(crate) async fn model(
    State(inference): State<Inference>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let listing = inference.index.list().await;
    let model = listing.models.get(&id_of(&name, &listing));
    model.map(|model| Json(described(model))).ok_or_else(|| unknown_model(&name, &listing))
}

fn described(model: &Model) -> Value {
    let owner = if model.built_in { "actionbooster" } else { "owner" };
    json!({"id": model.manifest.id, "object": "model", "created": created(model), "owned_by": owner})
}

/// `POST /v1/chat/completions`.
pub(crate) async fn chat(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(request): Json<ChatRequest>,
) -> Result<Response, Problem> {
    let generation = request.generation()?;
    let head = Head::new(request.model.clone(), request.most_calls(), generation.logprobs.is_some());
    let id = inference.id_of(&request.model).await;
    let lease_request = context.lease_request_for(&id, inference.limits.load_timeout, request.keep_alive()?);
    let pieces = ask(inference, lease_request, generation);
    if !request.streams() {
        return reply::whole(head, pieces).await;
    }
    let all = begun(pieces).await.map_err(|error| error.problem())?;
    Ok(reply::chunks(head, all, request.wants_usage()).into_response())
}

/// How many of this surface's requests these bytes are. For the fuzz target.
pub(crate) fn accepts(bytes: &[u8]) -> usize {
    let chat = serde_json::from_slice::<ChatRequest>(bytes);
    let chat = chat.is_ok_and(|request| request.generation().is_ok() && request.keep_alive().is_ok());
    usize::from(chat) + completions::accepts(bytes) + embeddings::accepts(bytes)
}
