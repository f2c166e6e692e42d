//! Anthropic's Messages API as its official clients need it.

mod reply;
mod request;

use actionbooster_chassis::{Json, Problem};
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::ask::{ask, begun};
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
    let pieces = ask(inference, lease_request, generation);
    if !request.streams() {
        return reply::whole(head, pieces).await;
    }
    let pieces = begun(pieces).await.map_err(|error| error.problem())?;
    Ok(reply::events(head, pieces).into_response())
}

/// Whether these bytes are such a request. For the fuzz target.
pub(crate) fn accepts(bytes: &[u8]) -> usize {
    let request = serde_json::from_slice::<MessagesRequest>(bytes);
    usize::from(request.is_ok_and(|request| request.generation().is_ok()))
}
