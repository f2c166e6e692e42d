//! `POST /text/gen`: text from one model.

use actionbooster_chassis::{Json, Problem};
use actionbooster_generation::{Gateway, TextRequest};
use axum::extract::State;
use serde_json::{Value, json};

use super::Models;
use super::error::problem;
use super::requester::Requester;
use crate::inference::Inference;
use crate::query::MOST_PROMPT_BYTES;
use crate::request_context::RequestContext;

/// Generates, keeps and returns a text. The same request with the seed of the answer gives it again.
pub(crate) async fn text(
    State(gateway): State<Gateway>,
    State(inference): State<Inference>,
    context: RequestContext,
    Requester(principal): Requester,
    Json(request): Json<TextRequest>,
) -> Result<Json<Value>, Problem> {
    request.check(MOST_PROMPT_BYTES).map_err(problem)?;
    let models = Models { inference, context };
    let written = gateway.text(&models, &principal, &request).await.map_err(problem)?;
    Ok(Json(json!({
        "id": written.asset.id,
        "text": written.answer.text,
        "model": written.model,
        "seed": written.seed,
        "prompt_tokens": written.answer.prompt_tokens,
        "generated_tokens": written.answer.generated_tokens,
        "asset": format!("/api/v1/assets/{}", written.asset.id),
    })))
}
