//! Anthropic's Messages API as its official clients need it.

mod blocks;
mod reply;
mod request;

use actionbooster_chassis::{Json, Problem};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::ask::{ask, ask_counted, begun};
use crate::count::count;
use crate::inference::Inference;
use crate::request_context::RequestContext;

use reply::Head;
pub(crate) use reply::error_shape;
use request::MessagesRequest;

/// `POST /v1/messages`.
pub(crate) async fn messages(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(request): Json<MessagesRequest>,
) -> Result<Response, Problem> {
    let generation = request.generation()?;
    let head = Head::new(request.model.clone(), request.most_calls());
    let id = inference.id_of(&request.model).await;
    let lease_request = context.lease_request(&id, inference.limits.load_timeout);
    if !request.streams() {
        return reply::whole(head, ask(inference, lease_request, generation)).await;
    }
    let (pieces, mut counted) = ask_counted(inference, lease_request, generation);
    let pieces = begun(pieces).await.map_err(|error| error.problem())?;
    // Nothing is known yet of what still waits for its model.
    let input_tokens = counted.try_recv().unwrap_or(0);
    Ok(reply::events(head, pieces, input_tokens).into_response())
}

/// `POST /v1/messages/count_tokens`.
pub(crate) async fn count_tokens(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(request): Json<MessagesRequest>,
) -> Result<Json<Value>, Problem> {
    let chat = request.chat()?;
    let id = inference.id_of(&request.model).await;
    let lease_request = context.lease_request(&id, inference.limits.load_timeout);
    let tokens = count(&inference, &lease_request, &chat).await.map_err(|error| error.problem())?;
    Ok(Json(json!({"input_tokens": tokens})))
}

/// Whether these bytes are such a request. For the fuzz target.
pub(crate) fn accepts(bytes: &[u8]) -> usize {
    let request = serde_json::from_slice::<MessagesRequest>(bytes);
    usize::from(request.is_ok_and(|request| request.generation().is_ok()))
}
