//! Ollama's API as its official clients need it: NDJSON, streaming unless told otherwise, durations in nanoseconds.

mod chat;
mod embed;
mod generate;
mod models;
mod options;
mod reply;

use std::time::Duration;

use actionbooster_chassis::Problem;
use actionbooster_scheduler::{KeepAlive, LeaseRequest, ScheduleError};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api::validation::invalid;
use crate::inference::Inference;
use crate::problems;

pub(crate) use chat::chat;
pub(crate) use embed::{embed, embed_one};
pub(crate) use generate::generate;
pub(crate) use models::{ps, show, tags, version};

/// A problem in Ollama's own shape.
pub(crate) fn error_shape(problem: &Problem) -> Response {
    let body = json!({"error": problem.detail()}).to_string();
    (problem.status(), [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The model that a request names, in either of the two ways; `model` is the newer one.
pub(crate) fn named(model: Option<String>, name: Option<String>) -> Result<String, Problem> {
    let mut given = [model, name].into_iter().flatten().filter(|name| !name.is_empty());
    given.next().ok_or_else(|| invalid("model", "`model` is missing; name a model."))
}

/// Loads a model, or unloads it when it is not to be kept and its owner has not pinned it.
async fn load<W: reply::Wording>(
    inference: &Inference,
    lease_request: &LeaseRequest,
    head: &reply::Head<W>,
) -> Result<Response, Problem> {
    let failed = |error: ScheduleError| problems::scheduling(&error);
    if lease_request.keep_alive == Some(KeepAlive::For(Duration::ZERO)) {
        inference.index.find(&lease_request.model).await.map_err(failed)?;
        inference.scheduler.release(&lease_request.model).map_err(failed)?;
        return Ok(head.nothing("unload"));
    }
    inference.scheduler.lease(lease_request).await.map_err(failed)?;
    Ok(head.nothing("load"))
}

/// How many of this surface's requests these bytes are. For the fuzz target.
pub(crate) fn accepts(bytes: &[u8]) -> usize {
    chat::accepts(bytes) + generate::accepts(bytes)
}
