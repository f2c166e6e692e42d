//! What goes back: messages, events and errors in Anthropic's shapes.

use std::convert::Infallible;

use actionbooster_chassis::{Json, Problem};
use actionbooster_wire::runner::v1 as wire;
use async_stream::stream;
use axum::http::{StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::api::backpressure::with_backpressure;
use crate::api::stream::server_sent;
use crate::ask::{Answer, Piece, Pieces};
use crate::problems::TOO_LONG;

/// A problem in Anthropic's own shape.
pub(crate) fn error_shape(problem: &Problem) -> Response {
    (problem.status(), [(header::CONTENT_TYPE, "application/json")], error(problem).to_string())
        .into_response()
}

fn error(problem: &Problem) -> Value {
    let kind = match problem.status() {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "api_error",
    };
    let message = too_long(problem).unwrap_or_else(|| problem.detail().to_owned());
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

/// Anthropic's own words for a prompt that leaves no room, by which agents know that they have to shorten it.
fn too_long(problem: &Problem) -> Option<String> {
    let told = problem.to_json();
    let (prompt, context) = (told["prompt_tokens"].as_u64()?, told["context_tokens"].as_u64()?);
    let told = format!("prompt is too long: {prompt} tokens > {} maximum", context.saturating_sub(1));
    (problem.kind() == TOO_LONG).then_some(told)
}

/// What all parts of one message share.
pub(super) struct Head {
    id: String,
    model: String,
    /// Calls told at most.
    most_calls: usize,
}

impl Head {
    pub(super) fn new(model: String, most_calls: usize) -> Self {
        Self { id: format!("msg_{:016x}", rand::random::<u64>()), model, most_calls }
    }

    fn message(&self, content: &[Value], usage: &Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage,
        })
    }
}

/// The message in one piece.
pub(super) async fn whole(head: Head, pieces: Pieces) -> Result<Response, Problem> {
    let mut answer = Answer::collect(pieces).await.map_err(|error| error.problem())?;
    answer.calls.truncate(head.most_calls);
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        content.push(json!({"type": "thinking", "thinking": answer.reasoning, "signature": ""}));
    }
    if !answer.text.is_empty() {
        content.push(json!({"type": "text", "text": answer.text}));
    }
    content.extend(answer.calls.iter().map(|call| {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
        json!({"type": "tool_use", "id": call_id(), "name": call.name, "input": input})
    }));
    let mut message = head.message(&content, &usage(&answer.account));
    let (reason, sequence) = stop(&answer.account, !answer.calls.is_empty());
    message["stop_reason"] = reason.into();
    message["stop_sequence"] = sequence;
    Ok(Json(message).into_response())
}

/// Kinds of blocks in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
}

/// The message as server-sent events.
pub(super) fn events(head: Head, pieces: Pieces, input_tokens: u32) -> impl IntoResponse {
    let mut pieces = Box::pin(with_backpressure(pieces));
    let events = stream! {
        let begin = head.message(&[], &json!({
            "input_tokens": input_tokens,
            // Known at the end only.
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "output_tokens": 0,
        }));
        yield Ok::<_, Infallible>(event("message_start", json!({"message": begin})));
        yield Ok(event("ping", json!({})));
        let mut blocks = Blocks::default();
        let mut calls = 0;
        while let Some(piece) = pieces.next().await {
            let failure = match piece {
                Ok(Ok(Piece::Text(more))) => {
                    for event in blocks.more(Kind::Text, &more.text) {
                        yield Ok(event);
                    }
                    continue;
                }
                Ok(Ok(Piece::Reasoning(more))) => {
                    for event in blocks.more(Kind::Thinking, &more) {
                        yield Ok(event);
                    }
                    continue;
                }
                Ok(Ok(Piece::Call(_))) if calls >= head.most_calls => continue,
                Ok(Ok(Piece::Call(call))) => {
                    calls += 1;
                    for event in blocks.call(&call) {
                        yield Ok(event);
                    }
                    continue;
                }
                Ok(Ok(Piece::End(account))) => {
                    if let Some(event) = blocks.close() {
                        yield Ok(event);
                    }
                    let (reason, sequence) = stop(&account, calls > 0);
                    let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
                    yield Ok(event("message_delta", json!({"delta": delta, "usage": usage(&account)})));
                    yield Ok(event("message_stop", json!({})));
                    continue;
                }
                // The status is sent already; clients read an error event.
                Ok(Err(error)) => error.problem(),
                Err(stalled) => stalled.problem(),
            };
            yield Ok(Event::default().event("error").data(error(&failure).to_string()));
            return;
        }
    };
    server_sent(events)
}

/// The blocks of a streamed message: one is open at a time.
#[derive(Default)]
struct Blocks {
    open: Option<Kind>,
    index: usize,
}

impl Blocks {
    fn more(&mut self, kind: Kind, text: &str) -> Vec<Event> {
        let mut events = Vec::new();
        if self.open != Some(kind) {
            events.extend(self.close());
            let block = match kind {
                Kind::Text => json!({"type": "text", "text": ""}),
                Kind::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            };
            events.push(event("content_block_start", json!({"index": self.index, "content_block": block})));
            self.open = Some(kind);
        }
        let delta = match kind {
            Kind::Text => json!({"type": "text_delta", "text": text}),
            Kind::Thinking => json!({"type": "thinking_delta", "thinking": text}),
        };
        events.push(event("content_block_delta", json!({"index": self.index, "delta": delta})));
        events
    }

    fn call(&mut self, call: &wire::ToolCall) -> Vec<Event> {
        let mut events: Vec<Event> = self.close().into_iter().collect();
        let block = json!({"type": "tool_use", "id": call_id(), "name": call.name, "input": {}});
        let delta = json!({"type": "input_json_delta", "partial_json": call.arguments});
        events.push(event("content_block_start", json!({"index": self.index, "content_block": block})));
        events.push(event("content_block_delta", json!({"index": self.index, "delta": delta})));
        events.push(event("content_block_stop", json!({"index": self.index})));
        self.index += 1;
        events
    }

    fn close(&mut self) -> Option<Event> {
        self.open.take()?;
        let stop = event("content_block_stop", json!({"index": self.index}));
        self.index += 1;
        Some(stop)
    }
}

/// Events repeat their name as `type`.
fn event(name: &str, mut data: Value) -> Event {
    data["type"] = name.into();
    Event::default().event(name).data(data.to_string())
}

fn call_id() -> String {
    format!("toolu_{:016x}", rand::random::<u64>())
}

fn stop(account: &wire::Finished, called: bool) -> (&'static str, Value) {
    match account.reason() {
        wire::finished::Reason::Length => ("max_tokens", Value::Null),
        _ if called => ("tool_use", Value::Null),
        wire::finished::Reason::Stop => ("stop_sequence", account.stop.as_str().into()),
        _ => ("end_turn", Value::Null),
    }
}

/// Tokens that were remembered are not counted as read, as Anthropic does.
fn usage(account: &wire::Finished) -> Value {
    json!({
        "input_tokens": account.prompt_tokens.saturating_sub(account.cached_prompt_tokens),
        "cache_read_input_tokens": account.cached_prompt_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": account.generated_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_opens_and_closes_a_block_of_every_kind() {
        let account = wire::Finished {
            reason: wire::finished::Reason::Stop.into(),
            stop: "END".into(),
            ..wire::Finished::default()
        };
        let text = |text: &str| Piece::Text(wire::Text { text: text.into(), logprobs: Vec::new() });
        let call = wire::ToolCall { id: String::new(), name: "f".into(), arguments: "{\"a\":1}".into() };
        let pieces =
            [Piece::Reasoning("hm".into()), text("a"), text("b"), Piece::Call(call), Piece::End(account)];
        let pieces: Pieces = Box::pin(futures::stream::iter(pieces.map(Ok)));
        let response = events(Head::new("m".into(), 1), pieces, 7).into_response();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("body");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        assert_eq!(
            names,
            [
                "message_start",
                "ping",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "content_block_start",
                "content_block_delta",
                "content_block_delta",
                "content_block_stop",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ]
        );
        assert!(text.contains("\"usage\":{\"input_tokens\":7,"), "{text}");
        assert!(text.contains("\"stop_reason\":\"tool_use\""), "{text}");
        assert!(text.contains("\"index\":2"), "{text}");
    }

    #[test]
    fn endings_have_anthropics_names() {
        use wire::finished::Reason;
        let ended = |reason: Reason| wire::Finished {
            reason: reason.into(),
            stop: "X".into(),
            ..wire::Finished::default()
        };
        assert_eq!(stop(&ended(Reason::End), false), ("end_turn", Value::Null));
        assert_eq!(stop(&ended(Reason::End), true), ("tool_use", Value::Null));
        assert_eq!(stop(&ended(Reason::Length), true), ("max_tokens", Value::Null));
        assert_eq!(stop(&ended(Reason::Stop), false), ("stop_sequence", "X".into()));
    }
}
