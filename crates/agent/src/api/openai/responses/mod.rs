//! OpenAI's Responses API, which Codex and newer clients speak.

mod items;
mod output;
mod reply;
mod request;
mod store;
mod tools;

use std::sync::Arc;

use actionbooster_chassis::{Json, Problem};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::ask::{AskError, Pieces, ask, begun};
use crate::inference::Inference;
use crate::request_context::RequestContext;

use output::Output;
use reply::{Keeping, Reply};
use request::{Checked, ResponseRequest};
pub(crate) use store::StoredResponses;

/// `POST /v1/responses`.
pub(crate) async fn create(
    State(inference): State<Inference>,
    State(store): State<Arc<StoredResponses>>,
    context: RequestContext,
    Json(request): Json<ResponseRequest>,
) -> Result<Response, Problem> {
    let Checked { generation, turns, tools } = request.checked(&store, context.caller())?;
    let keeping = request.is_kept().then(|| Keeping { store, owner: context.caller().to_owned(), turns });
    let reply = Reply::new(request.told(), Output::new(tools, request.most_calls()), keeping);
    let id = inference.id_of(&request.model).await;
    let lease_request = context.lease_request(&id, inference.limits.load_timeout);
    let pieces = ask(inference, lease_request, generation);
    if !request.streams() {
        return reply::whole(reply, pieces).await;
    }
    let pieces: Pieces = match begun(pieces).await {
        // Codex shortens a conversation when a response fails for its length, and not for a status.
        Err(error @ AskError::TooLong { .. }) => Box::pin(futures::stream::iter([Err(error)])),
        begun => begun.map_err(|error| error.problem())?,
    };
    Ok(reply::events(reply, pieces).into_response())
}

/// `GET /v1/responses/{id}`.
pub(crate) async fn show(
    State(store): State<Arc<StoredResponses>>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let body = store.body(context.caller(), &id).ok_or_else(|| unknown(&id))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// `DELETE /v1/responses/{id}`.
pub(crate) async fn remove(
    State(store): State<Arc<StoredResponses>>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    if !store.forget(context.caller(), &id) {
        return Err(unknown(&id));
    }
    Ok(Json(json!({"id": id, "object": "response", "deleted": true})))
}

fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(80).collect();
    let detail = format!("Response with id '{id}' not found; they are kept for a day at most.");
    Problem::new(StatusCode::NOT_FOUND, "response_not_found", "There is no such response", detail)
}

/// Whether these bytes are such a request. For the fuzz target.
pub(super) fn accepts(bytes: &[u8]) -> usize {
    let request = serde_json::from_slice::<ResponseRequest>(bytes);
    let fine = |request: ResponseRequest| request.checked(&StoredResponses::default(), "").is_ok();
    usize::from(request.is_ok_and(fine))
}
