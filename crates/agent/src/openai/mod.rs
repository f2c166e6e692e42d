//! The OpenAI API as its official clients need it: models and chat completions, streaming included.

mod reply;
mod request;

use std::time::Duration;

use actionbooster_chassis::{Json, Problem};
use actionbooster_models::Model;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::Shared;
use crate::ask::ask;
use crate::shelf::{created, unknown};

use reply::Head;
pub(crate) use reply::error_shape;
use request::ChatRequest;

/// How long a stream waits for its first token before it begins without one. An error within that
/// time has a status of its own; later ones come as an error in the stream.
const FIRST_WAIT: Duration = Duration::from_secs(20);

/// `GET /v1/models`.
pub(crate) async fn models(State(agent): State<Shared>) -> Json<Value> {
    let listing = agent.shelf.list().await;
    let data: Vec<Value> = listing.models.values().map(described).collect();
    Json(json!({"object": "list", "data": data}))
}

/// `GET /v1/models/{id}`.
pub(crate) async fn model(
    State(agent): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let listing = agent.shelf.list().await;
    listing.models.get(&id).map(|model| Json(described(model))).ok_or_else(|| unknown(&id, &listing))
}

fn described(model: &Model) -> Value {
    let owner = if model.built_in { "actionbooster" } else { "owner" };
    json!({"id": model.manifest.id, "object": "model", "created": created(model), "owned_by": owner})
}

/// `POST /v1/chat/completions`.
pub(crate) async fn chat(
    State(agent): State<Shared>,
    Json(request): Json<ChatRequest>,
) -> Result<Response, Problem> {
    let generation = request.generation()?;
    let head = Head::new(request.model.clone());
    let patience = agent.patience;
    let mut pieces = ask(agent, request.model.clone(), generation, patience);
    if !request.streams() {
        return reply::whole(head, pieces).await;
    }
    let first = match tokio::time::timeout(FIRST_WAIT, pieces.next()).await {
        Ok(Some(Err(error))) => return Err(error.problem()),
        Ok(first) => first,
        Err(_) => None,
    };
    let all = futures::stream::iter(first).chain(pieces);
    Ok(reply::chunks(head, all, request.wants_usage()).into_response())
}
