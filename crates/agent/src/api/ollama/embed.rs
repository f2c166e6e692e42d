//! `POST /api/embed`, and the older `POST /api/embeddings` for one text.

use std::time::Instant;

use actionbooster_chassis::{Json, Problem};
use actionbooster_wire::runner::v1 as wire;
use axum::extract::State;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::api::embeddings::{checked, dimensions, shortened};
use crate::api::lenient::{Integer, nullable};
use crate::api::validation::{self, invalid};
use crate::embed;
use crate::inference::Inference;
use crate::problems;
use crate::request_context::RequestContext;

/// Body of `POST /api/embed`.
#[derive(Deserialize)]
pub(crate) struct EmbedRequest {
    model: String,
    #[serde(default)]
    input: Input,
    /// Whether texts that are too long are cut; true when absent.
    truncate: Option<bool>,
    dimensions: Option<Integer>,
    keep_alive: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Input {
    #[default]
    Nothing,
    One(String),
    Several(Vec<String>),
    Other(IgnoredAny),
}

/// Body of `POST /api/embeddings`.
#[derive(Deserialize)]
pub(crate) struct EmbedOneRequest {
    model: String,
    #[serde(default, deserialize_with = "nullable")]
    prompt: String,
    keep_alive: Option<Value>,
}

/// One vector per text, of length 1.
pub(crate) async fn embed(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(request): Json<EmbedRequest>,
) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let inputs = match request.input {
        Input::Nothing => Vec::new(),
        Input::One(text) if text.is_empty() => Vec::new(),
        Input::One(text) => vec![text],
        Input::Several(texts) => texts,
        Input::Other(_) => return Err(invalid("input", "`input` must be a text or a list of texts.")),
    };
    let wanted = dimensions(request.dimensions)?;
    let texts = embed::Texts {
        inputs: checked("input", inputs)?,
        normalize: true,
        truncate: request.truncate != Some(false),
    };
    let reply = vectors(&inference, &context, &request.model, request.keep_alive.as_ref(), texts).await?;
    let vectors = reply.embeddings.into_iter().map(|one| shortened(one.values, wanted));
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
    let inputs = if request.prompt.is_empty() { Vec::new() } else { vec![request.prompt] };
    let texts = embed::Texts { inputs: checked("prompt", inputs)?, normalize: false, truncate: true };
    let mut reply = vectors(&inference, &context, &request.model, request.keep_alive.as_ref(), texts).await?;
    Ok(Json(json!({"embedding": reply.embeddings.pop().map(|one| one.values).unwrap_or_default()})))
}

/// A vector for each text. Without any the model is only loaded, as Ollama does.
async fn vectors(
    inference: &Inference,
    context: &RequestContext,
    model: &str,
    keep_alive: Option<&Value>,
    texts: embed::Texts,
) -> Result<wire::EmbedReply, Problem> {
    let keep_alive = keep_alive.map_or(Ok(None), validation::keep_alive)?;
    let id = inference.id_of(model).await;
    let lease_request = context.lease_request_for(&id, inference.limits.load_timeout, keep_alive);
    if texts.inputs.is_empty() {
        let lease = inference.scheduler.lease(&lease_request).await;
        lease.map_err(|error| problems::scheduling(&error))?;
        return Ok(wire::EmbedReply::default());
    }
    embed::embed(inference, &lease_request, texts).await.map_err(|error| error.problem())
}
