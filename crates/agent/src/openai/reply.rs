//! What goes back: completions, chunks and errors in OpenAI's shapes.

use std::convert::Infallible;
use std::time::Duration;

use actionbooster_chassis::{Json, Problem, unix_now};
use actionbooster_wire::runner::v1 as wire;
use async_stream::stream;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde_json::{Value, json};

use crate::ask::{AskError, Piece, Pieces};
use crate::pace::paced;

/// Silence after which a comment is sent, so that nobody on the way gives the connection up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A problem in OpenAI's own shape.
pub(crate) fn error_shape(problem: &Problem) -> Response {
    let body = json!({"error": error(problem)}).to_string();
    (problem.status(), [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn error(problem: &Problem) -> Value {
    let (kind, code) = match problem.status() {
        StatusCode::UNAUTHORIZED => ("authentication_error", "invalid_api_key"),
        StatusCode::FORBIDDEN => ("permission_error", problem.kind()),
        StatusCode::NOT_FOUND => ("not_found_error", problem.kind()),
        StatusCode::TOO_MANY_REQUESTS => ("rate_limit_error", problem.kind()),
        status if status.is_client_error() => ("invalid_request_error", problem.kind()),
        _ => ("server_error", problem.kind()),
    };
    json!({"message": problem.detail(), "type": kind, "param": problem.to_json()["param"], "code": code})
}

/// What all parts of one completion share.
pub(super) struct Head {
    id: String,
    created: i64,
    model: String,
}

impl Head {
    pub(super) fn new(model: String) -> Self {
        Self { id: format!("chatcmpl-{:016x}", rand::random::<u64>()), created: unix_now(), model }
    }

    fn chunk(&self, choices: &Value, usage: Option<Value>) -> Event {
        let mut body = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let Some(usage) = usage {
            body["usage"] = usage;
        }
        Event::default().data(body.to_string())
    }
}

/// The completion in one piece.
pub(super) async fn whole(head: Head, mut pieces: Pieces) -> Result<Response, Problem> {
    let mut text = String::new();
    let mut account = wire::Finished::default();
    while let Some(piece) = pieces.next().await {
        match piece.map_err(|error| error.problem())? {
            Piece::Text(more) => text.push_str(&more),
            Piece::End(end) => account = end,
        }
    }
    let choice = json!({
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": null},
        "logprobs": null,
        "finish_reason": finish_reason(&account),
    });
    Ok(Json(json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [choice],
        "usage": usage_of(&account),
    }))
    .into_response())
}

/// The completion as server-sent events.
pub(super) fn chunks(
    head: Head,
    pieces: impl Stream<Item = Result<Piece, AskError>> + Send + 'static,
    include_usage: bool,
) -> impl IntoResponse {
    let mut pieces = Box::pin(paced(pieces));
    // With usage asked for, every chunk but the last says that it has none.
    let no_usage = include_usage.then_some(Value::Null);
    let events = stream! {
        let opening = delta(&json!({"role": "assistant", "content": ""}), None);
        yield Ok::<_, Infallible>(head.chunk(&opening, no_usage.clone()));
        while let Some(piece) = pieces.next().await {
            // The status is sent already; clients read an error object in the stream.
            let failure = match piece {
                Ok(Ok(Piece::Text(text))) => {
                    yield Ok(head.chunk(&delta(&json!({"content": text}), None), no_usage.clone()));
                    continue;
                }
                Ok(Ok(Piece::End(account))) => {
                    let finish = delta(&json!({}), Some(finish_reason(&account)));
                    yield Ok(head.chunk(&finish, no_usage.clone()));
                    if include_usage {
                        yield Ok(head.chunk(&json!([]), Some(usage_of(&account))));
                    }
                    continue;
                }
                Ok(Err(error)) => error.problem(),
                Err(stalled) => {
                    let kind = StatusCode::REQUEST_TIMEOUT;
                    Problem::new(kind, "stalled", "The client read too slowly", stalled.to_string())
                }
            };
            yield Ok(Event::default().data(json!({"error": error(&failure)}).to_string()));
            return;
        }
        yield Ok(Event::default().data("[DONE]"));
    };
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn delta(delta: &Value, finish: Option<&str>) -> Value {
    json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}])
}

fn finish_reason(account: &wire::Finished) -> &'static str {
    if account.reason() == wire::finished::Reason::Length { "length" } else { "stop" }
}

fn usage_of(account: &wire::Finished) -> Value {
    json!({
        "prompt_tokens": account.prompt_tokens,
        "completion_tokens": account.generated_tokens,
        "total_tokens": account.prompt_tokens + account.generated_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_type_that_official_clients_know() {
        let cases = [
            (400, "invalid", "invalid_request_error", "invalid"),
            (401, "unauthenticated", "authentication_error", "invalid_api_key"),
            (403, "missing-scope", "permission_error", "missing-scope"),
            (404, "model_not_found", "not_found_error", "model_not_found"),
            (413, "too-large", "invalid_request_error", "too-large"),
            (503, "busy", "server_error", "busy"),
        ];
        for (status, kind, expected, code) in cases {
            let status = StatusCode::from_u16(status).expect("status");
            let shape = error(&Problem::new(status, kind, "T", "what to do").with("param", "model"));
            let wanted = json!({"message": "what to do", "type": expected, "param": "model", "code": code});
            assert_eq!(shape, wanted, "{status}");
        }
        let plain = error(&Problem::new(StatusCode::BAD_REQUEST, "k", "T", "d"));
        assert_eq!(plain["param"], Value::Null);
    }

    async fn body(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("body");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    fn pieces(reason: wire::finished::Reason) -> Vec<Result<Piece, AskError>> {
        let account = wire::Finished {
            reason: reason.into(),
            prompt_tokens: 3,
            generated_tokens: 2,
            ..wire::Finished::default()
        };
        vec![Ok(Piece::Text("He".into())), Ok(Piece::Text("y".into())), Ok(Piece::End(account))]
    }

    #[tokio::test]
    async fn a_whole_completion_carries_text_reason_and_usage() {
        use wire::finished::Reason;
        for (reason, expected) in [(Reason::End, "stop"), (Reason::Stop, "stop"), (Reason::Length, "length")]
        {
            let all: Pieces = Box::pin(futures::stream::iter(pieces(reason)));
            let response = whole(Head::new("m".into()), all).await.expect("completion");
            let body: Value = serde_json::from_str(&body(response).await).expect("JSON");
            assert_eq!(body["choices"][0]["message"]["content"], "Hey");
            assert_eq!(body["choices"][0]["finish_reason"], expected);
            assert_eq!(body["usage"]["total_tokens"], 5);
        }
    }

    #[tokio::test]
    async fn a_stream_ends_with_reason_usage_and_the_word_done() {
        let all = futures::stream::iter(pieces(wire::finished::Reason::End));
        let text = body(chunks(Head::new("m".into()), all, true).into_response()).await;
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(data.last(), Some(&"[DONE]"));
        let parsed: Vec<Value> =
            data[..data.len() - 1].iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let said: String =
            parsed.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(said, "Hey");
        assert_eq!(parsed[parsed.len() - 2]["choices"][0]["finish_reason"], "stop");
        assert_eq!(parsed[parsed.len() - 1]["usage"]["completion_tokens"], 2);
        assert_eq!(parsed[0]["usage"], Value::Null);
    }

    #[tokio::test]
    async fn an_error_in_the_middle_of_a_stream_is_said_and_ends_it() {
        let died = AskError::Died { id: "m".into(), reason: "signal: 9".into() };
        let all = futures::stream::iter(vec![Ok(Piece::Text("He".into())), Err(died)]);
        let text = body(chunks(Head::new("m".into()), all, false).into_response()).await;
        assert!(text.contains("\"error\"") && text.contains("signal: 9"), "{text}");
        assert!(!text.contains("[DONE]"), "{text}");
    }
}
