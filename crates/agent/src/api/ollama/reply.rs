//! Answers in Ollama's two forms: one JSON object, or a line of JSON per piece.

use std::convert::Infallible;
use std::time::Instant;

use actionbooster_chassis::{Json, Problem};
use actionbooster_wire::runner::v1 as wire;
use async_stream::stream;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::backpressure::with_backpressure;
use crate::ask::{Answer, Piece, Pieces, begun};

/// How one of the two requests words its pieces.
pub(super) trait Wording: Send + 'static {
    /// The fields of a piece: text, thought, calls.
    fn piece(&self, text: &str, thought: &str, calls: &[wire::ToolCall]) -> Value;
}

/// What all pieces of one answer share.
pub(super) struct Head<W> {
    pub(super) model: String,
    pub(super) started: Instant,
    pub(super) wording: W,
}

impl<W: Wording> Head<W> {
    pub(super) async fn answer(self, pieces: Pieces, streams: bool) -> Result<Response, Problem> {
        if streams {
            let pieces = begun(pieces).await.map_err(|error| error.problem())?;
            return Ok(self.lines(pieces));
        }
        let answer = Answer::collect(pieces).await.map_err(|error| error.problem())?;
        let mut body = self.body(&answer.text, &answer.reasoning, &answer.calls, true);
        self.account(&mut body, &answer.account);
        Ok(Json(body).into_response())
    }

    /// An answer to a request without a question, which only loads or unloads the model.
    pub(super) fn nothing(&self, reason: &str) -> Response {
        let mut body = self.body("", "", &[], true);
        body["done_reason"] = reason.into();
        Json(body).into_response()
    }

    fn lines(self, pieces: Pieces) -> Response {
        let mut pieces = Box::pin(with_backpressure(pieces));
        let lines = stream! {
            while let Some(piece) = pieces.next().await {
                let body = match piece {
                    Ok(Ok(Piece::Text(more))) => self.body(&more.text, "", &[], false),
                    Ok(Ok(Piece::Reasoning(more))) => self.body("", &more, &[], false),
                    Ok(Ok(Piece::Call(call))) => self.body("", "", &[call], false),
                    Ok(Ok(Piece::End(account))) => {
                        let mut body = self.body("", "", &[], true);
                        self.account(&mut body, &account);
                        body
                    }
                    // The status is sent already; clients read an error in the stream.
                    Ok(Err(error)) => json!({"error": error.problem().detail()}),
                    Err(stalled) => json!({"error": stalled.to_string()}),
                };
                yield Ok::<_, Infallible>(format!("{body}\n"));
            }
        };
        ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
    }

    fn body(&self, text: &str, thought: &str, calls: &[wire::ToolCall], done: bool) -> Value {
        let mut body = json!({"model": self.model, "created_at": Timestamp::now().to_string()});
        if let (Value::Object(body), Value::Object(piece)) =
            (&mut body, self.wording.piece(text, thought, calls))
        {
            body.extend(piece);
        }
        body["done"] = done.into();
        body
    }

    /// Adds why and after how long it ended. What was neither reading nor writing was waiting for the model.
    fn account(&self, body: &mut Value, account: &wire::Finished) {
        let total = self.started.elapsed().as_nanos() as u64;
        let (reading, writing) = (account.prompt_us * 1000, account.generate_us * 1000);
        let length = account.reason() == wire::finished::Reason::Length;
        body["done_reason"] = if length { "length" } else { "stop" }.into();
        body["total_duration"] = total.into();
        body["load_duration"] = total.saturating_sub(reading + writing).into();
        body["prompt_eval_count"] = account.prompt_tokens.into();
        body["prompt_eval_duration"] = reading.into();
        body["eval_count"] = account.generated_tokens.into();
        body["eval_duration"] = writing.into();
    }
}

/// Calls with their arguments as an object, as Ollama has them.
pub(super) fn told_calls(calls: &[wire::ToolCall]) -> Vec<Value> {
    let told = |call: &wire::ToolCall| {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
        json!({"function": {"name": call.name, "arguments": arguments}})
    };
    calls.iter().map(told).collect()
}
