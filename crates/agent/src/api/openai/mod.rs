//! The OpenAI API as its official clients need it: models, responses, chat and text completions, embeddings.

mod completions;
mod embeddings;
mod reply;
mod request;
pub(crate) mod responses;
mod sampling;

use actionbooster_chassis::{Json, Problem};
use actionbooster_models::Model;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::choices::{self, side_by_side};
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
    let mut data = Vec::with_capacity(listing.models.len());
    for model in listing.models.values() {
        data.push(described(&inference, model).await);
    }
    let ids = (listing.models.keys().next(), listing.models.keys().next_back());
    Json(json!({"object": "list", "data": data, "has_more": false, "first_id": ids.0, "last_id": ids.1}))
}

/// `GET /v1/models/{id}`.
pub(crate) async fn model(
    State(inference): State<Inference>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let listing = inference.index.list().await;
    let model = listing.models.get(&id_of(&name, &listing)).ok_or_else(|| unknown_model(&name, &listing))?;
    Ok(Json(described(&inference, model).await))
}

/// A model with what clients of OpenAI look for (`context_length` and `max_model_len` are the names that other
/// servers gave to what OpenAI does not say), then with what Anthropic's do, whose list is at the same path.
async fn described(inference: &Inference, model: &Model) -> Value {
    let owner = if model.built_in { "actionbooster" } else { "owner" };
    let context = inference.index.context_tokens(model.clone()).await.ok();
    let created = created(model);
    let created_at = i64::try_from(created).ok().and_then(|second| Timestamp::from_second(second).ok());
    json!({
        "id": model.manifest.id,
        "object": "model",
        "created": created,
        "owned_by": owner,
        "context_length": context,
        "max_model_len": context,
        "type": "model",
        "display_name": model.manifest.name,
        "created_at": created_at.unwrap_or(Timestamp::UNIX_EPOCH).to_string(),
        "max_input_tokens": context,
        "max_tokens": context,
        "lifecycle": "active",
    })
}

/// `POST /v1/chat/completions`.
pub(crate) async fn chat(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(request): Json<ChatRequest>,
) -> Result<Response, Problem> {
    let generation = request.generation()?;
    let choices = request.choices()?;
    let head = Head::new(request.model.clone(), choices, request.most_calls(), generation.logprobs.is_some());
    let id = inference.id_of(&request.model).await;
    let lease_request = context.lease_request_for(&id, inference.limits.load_timeout, request.keep_alive()?);
    let asked = (0..choices).map(move |number| {
        ask(inference.clone(), lease_request.clone(), choices::choice(generation.clone(), number))
    });
    let pieces = side_by_side(asked);
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
    usize::from(chat) + completions::accepts(bytes) + embeddings::accepts(bytes) + responses::accepts(bytes)
}
