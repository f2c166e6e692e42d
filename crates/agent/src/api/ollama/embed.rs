//! `POST /api/embed`, and the older `POST /api/embeddings` for one text.

use std::time::Instant;

use actionbooster_chassis::{Json, Problem};
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::id_of;
use crate::api::embeddings::{checked, shortened};
use crate::ask;
use crate::inference::Inference;
use crate::request_context::RequestContext;

/// Body of `POST /api/embed`.
#[derive(Deserialize)]
pub(crate) struct EmbedRequest {
    model: String,
    input: Input,
    /// Whether texts that are too long are cut; true when absent.
    truncate: Option<bool>,
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Several(Vec<String>),
}

/// Body of `POST /api/embeddings`.
#[derive(Deserialize)]
pub(crate) struct EmbedOneRequest {
    model: String,
    prompt: String,
}

/// One vector per text, of length 1.
pub(crate) async fn embed(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(request): Json<EmbedRequest>,
) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let id = id_of(&request.model, &inference.index.list().await);
    let inputs = match request.input {
        Input::One(text) => vec![text],
        Input::Several(texts) => texts,
    };
    let texts = ask::Texts {
        inputs: checked("input", inputs)?,
        normalize: true,
        truncate: request.truncate != Some(false),
    };
    let reply = ask::embed(&inference, &context.lease_request(&id, inference.limits.load_timeout), texts)
        .await
        .map_err(|error| error.problem())?;
    let vectors = reply.embeddings.into_iter().map(|one| shortened(one.values, request.dimensions));
    Ok(Json(json!({
        "model": request.model,
        "embeddings": vectors.collect::<Result<Vec<_>, _>>()?,
        "total_duration": started.elapsed().as_nanos() as u64,
        "load_duration": 0,
        "prompt_eval_count": reply.prompt_tokens,
    })))
}

/// One vector, not brought to length 1.
pub(crate) async fn embed_one(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(request): Json<EmbedOneRequest>,
) -> Result<Json<Value>, Problem> {
    let id = id_of(&request.model, &inference.index.list().await);
    let inputs = checked("prompt", vec![request.prompt])?;
    let texts = ask::Texts { inputs, normalize: false, truncate: true };
    let mut reply = ask::embed(&inference, &context.lease_request(&id, inference.limits.load_timeout), texts)
        .await
        .map_err(|error| error.problem())?;
    Ok(Json(json!({"embedding": reply.embeddings.pop().map(|one| one.values).unwrap_or_default()})))
}
