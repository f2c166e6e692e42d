//! What goes back: completions, chunks and errors in OpenAI's shapes.

use std::convert::Infallible;

use actionbooster_chassis::{Json, Problem, unix_now};
use actionbooster_wire::runner::v1 as wire;
use async_stream::stream;
use axum::http::{StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde_json::{Value, json};

use crate::api::backpressure::with_backpressure;
use crate::api::stream::server_sent;
use crate::ask::{Answer, AskError, Piece, Pieces};

/// A problem in OpenAI's own shape.
pub(crate) fn error_shape(problem: &Problem) -> Response {
    let body = json!({"error": error(problem)}).to_string();
    (problem.status(), [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(super) fn error(problem: &Problem) -> Value {
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
    /// Calls told at most.
    most_calls: usize,
    /// Whether tokens are told with their probabilities.
    logprobs: bool,
}

impl Head {
    pub(super) fn new(model: String, most_calls: usize, logprobs: bool) -> Self {
        let id = format!("chatcmpl-{:016x}", rand::random::<u64>());
        Self { id, created: unix_now(), model, most_calls, logprobs }
    }

    fn chunk(&self, choices: &Value, more: Option<(&str, Value)>) -> Event {
        let mut body = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let Some((name, value)) = more {
            body[name] = value;
        }
        Event::default().data(body.to_string())
    }
}

/// The completion in one piece.
pub(super) async fn whole(head: Head, pieces: Pieces) -> Result<Response, Problem> {
    let mut answer = Answer::collect(pieces).await.map_err(|error| error.problem())?;
    answer.calls.truncate(head.most_calls);
    let calls: Vec<Value> = answer.calls.iter().map(call).collect();
    let reason = finish_reason(&answer.account, !calls.is_empty());
    let content = if answer.text.is_empty() && !calls.is_empty() { Value::Null } else { answer.text.into() };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !answer.reasoning.is_empty() {
        message["reasoning_content"] = answer.reasoning.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let logprobs = if head.logprobs {
        json!({"content": tokens(&answer.logprobs), "refusal": null})
    } else {
        Value::Null
    };
    Ok(Json(json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": reason}],
        "usage": usage_of(&answer.account),
        "timings": timings_of(&answer.account),
    }))
    .into_response())
}

/// The completion as server-sent events.
pub(super) fn chunks(
    head: Head,
    pieces: impl Stream<Item = Result<Piece, AskError>> + Send + 'static,
    include_usage: bool,
) -> impl IntoResponse {
    let mut pieces = Box::pin(with_backpressure(pieces));
    // With usage asked for, every chunk but the last says that it has none.
    let no_usage = move || include_usage.then_some(("usage", Value::Null));
    let events = stream! {
        yield Ok::<_, Infallible>(head.chunk(&delta(&json!({"role": "assistant", "content": ""})), no_usage()));
        let mut calls = 0;
        while let Some(piece) = pieces.next().await {
            // The status is sent already; clients read an error object in the stream.
            let failure = match piece {
                Ok(Ok(Piece::Text(more))) => {
                    let mut choices = delta(&json!({"content": more.text}));
                    if head.logprobs {
                        choices[0]["logprobs"] = json!({"content": tokens(&more.logprobs), "refusal": null});
                    }
                    yield Ok(head.chunk(&choices, no_usage()));
                    continue;
                }
                Ok(Ok(Piece::Reasoning(more))) => {
                    yield Ok(head.chunk(&delta(&json!({"reasoning_content": more})), no_usage()));
                    continue;
                }
                Ok(Ok(Piece::Call(_))) if calls >= head.most_calls => continue,
                Ok(Ok(Piece::Call(called))) => {
                    let mut told = call(&called);
                    told["index"] = calls.into();
                    calls += 1;
                    yield Ok(head.chunk(&delta(&json!({"tool_calls": [told]})), no_usage()));
                    continue;
                }
                Ok(Ok(Piece::End(account))) => {
                    let mut finish = delta(&json!({}));
                    finish[0]["finish_reason"] = finish_reason(&account, calls > 0).into();
                    let timings = (!include_usage).then(|| ("timings", timings_of(&account)));
                    yield Ok(head.chunk(&finish, timings.or_else(no_usage)));
                    if include_usage {
                        yield Ok(head.chunk(&json!([]), Some(("usage", usage_of(&account)))));
                    }
                    continue;
                }
                Ok(Err(error)) => error.problem(),
                Err(stalled) => stalled.problem(),
            };
            yield Ok(Event::default().data(json!({"error": error(&failure)}).to_string()));
            return;
        }
        yield Ok(Event::default().data("[DONE]"));
    };
    server_sent(events)
}

fn delta(delta: &Value) -> Value {
    json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}])
}

fn call(call: &wire::ToolCall) -> Value {
    let id = format!("call_{:016x}", rand::random::<u64>());
    json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

pub(super) fn tokens(logprobs: &[wire::TokenLogprob]) -> Vec<Value> {
    let told = |text: &str, raw: &[u8], logprob: f32| json!({"token": text, "logprob": finite(logprob), "bytes": raw});
    let token = |token: &wire::TokenLogprob| {
        let mut one = told(&token.text, &token.raw, token.logprob);
        let others = token.alternatives.iter().map(|other| told(&other.text, &other.raw, other.logprob));
        one["top_logprobs"] = others.collect();
        one
    };
    logprobs.iter().map(token).collect()
}

/// JSON knows no infinity; OpenAI says -9999 of what is impossible.
pub(super) const fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}

fn finish_reason(account: &wire::Finished, called: bool) -> &'static str {
    match account.reason() {
        wire::finished::Reason::Length => "length",
        _ if called => "tool_calls",
        _ => "stop",
    }
}

pub(super) fn usage_of(account: &wire::Finished) -> Value {
    json!({
        "prompt_tokens": account.prompt_tokens,
        "completion_tokens": account.generated_tokens,
        "total_tokens": account.prompt_tokens + account.generated_tokens,
        "prompt_tokens_details": {"cached_tokens": account.cached_prompt_tokens},
    })
}

/// How long it took, as llama.cpp's server tells it.
pub(super) fn timings_of(account: &wire::Finished) -> Value {
    let read = account.prompt_tokens.saturating_sub(account.cached_prompt_tokens);
    let per_second = |count: u32, us: u64| if us == 0 { 0.0 } else { f64::from(count) * 1e6 / us as f64 };
    json!({
        "cache_n": account.cached_prompt_tokens,
        "prompt_n": read,
        "prompt_ms": account.prompt_us as f64 / 1e3,
        "prompt_per_second": per_second(read, account.prompt_us),
        "predicted_n": account.generated_tokens,
        "predicted_ms": account.generate_us as f64 / 1e3,
        "predicted_per_second": per_second(account.generated_tokens, account.generate_us),
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

    fn said(text: &str) -> Piece {
        Piece::Text(wire::Text { text: text.into(), logprobs: Vec::new() })
    }

    fn head() -> Head {
        Head::new("m".into(), usize::MAX, false)
    }

    fn pieces(reason: wire::finished::Reason) -> Vec<Result<Piece, AskError>> {
        let account = wire::Finished {
            reason: reason.into(),
            prompt_tokens: 3,
            generated_tokens: 2,
            ..wire::Finished::default()
        };
        vec![Ok(said("He")), Ok(said("y")), Ok(Piece::End(account))]
    }

    #[tokio::test]
    async fn a_whole_completion_carries_text_reason_and_usage() {
        use wire::finished::Reason;
        for (reason, expected) in [(Reason::End, "stop"), (Reason::Stop, "stop"), (Reason::Length, "length")]
        {
            let all: Pieces = Box::pin(futures::stream::iter(pieces(reason)));
            let response = whole(head(), all).await.expect("completion");
            let body: Value = serde_json::from_str(&body(response).await).expect("JSON");
            assert_eq!(body["choices"][0]["message"]["content"], "Hey");
            assert_eq!(body["choices"][0]["finish_reason"], expected);
            assert_eq!(body["usage"]["total_tokens"], 5);
        }
    }

    #[tokio::test]
    async fn a_stream_ends_with_reason_usage_and_the_word_done() {
        let all = futures::stream::iter(pieces(wire::finished::Reason::End));
        let text = body(chunks(head(), all, true).into_response()).await;
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
        let all = futures::stream::iter(vec![Ok(said("He")), Err(died)]);
        let text = body(chunks(head(), all, false).into_response()).await;
        assert!(text.contains("\"error\"") && text.contains("signal: 9"), "{text}");
        assert!(!text.contains("[DONE]"), "{text}");
    }

    fn thinking_and_calling() -> Vec<Result<Piece, AskError>> {
        let call = |name: &str| {
            Ok(Piece::Call(wire::ToolCall { id: String::new(), name: name.into(), arguments: "{}".into() }))
        };
        let account =
            wire::Finished { cached_prompt_tokens: 1, prompt_tokens: 3, ..wire::Finished::default() };
        vec![Ok(Piece::Reasoning("Hm.".into())), call("f"), call("g"), Ok(Piece::End(account))]
    }

    #[tokio::test]
    async fn thoughts_and_calls_are_told_apart_from_text() {
        let all: Pieces = Box::pin(futures::stream::iter(thinking_and_calling()));
        let told: Value =
            serde_json::from_str(&body(whole(head(), all).await.expect("completion")).await).expect("JSON");
        let message = &told["choices"][0]["message"];
        assert_eq!((&message["content"], &message["reasoning_content"]), (&Value::Null, &json!("Hm.")));
        assert_eq!(message["tool_calls"][1]["function"]["name"], "g");
        assert_eq!(told["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(told["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
        assert_eq!(told["timings"]["prompt_n"], 2);

        let one = Head::new("m".into(), 1, false);
        let text =
            body(chunks(one, futures::stream::iter(thinking_and_calling()), false).into_response()).await;
        assert!(text.contains("\"reasoning_content\":\"Hm.\"") && text.contains("\"index\":0"), "{text}");
        assert!(!text.contains("\"g\""), "only one call was wanted: {text}");
        assert!(text.contains("\"finish_reason\":\"tool_calls\""), "{text}");
    }

    #[tokio::test]
    async fn tokens_are_told_with_their_probabilities_when_asked() {
        let alternative =
            wire::Alternative { text: "a".into(), raw: b"a".to_vec(), logprob: f32::NEG_INFINITY };
        let token = wire::TokenLogprob {
            text: "He".into(),
            raw: b"He".to_vec(),
            logprob: -0.5,
            alternatives: vec![alternative],
        };
        let text = wire::Text { text: "He".into(), logprobs: vec![token] };
        let pieces = vec![Ok(Piece::Text(text)), Ok(Piece::End(wire::Finished::default()))];
        let all: Pieces = Box::pin(futures::stream::iter(pieces));
        let response = whole(Head::new("m".into(), 1, true), all).await.expect("completion");
        let told: Value = serde_json::from_str(&body(response).await).expect("JSON");
        let token = &told["choices"][0]["logprobs"]["content"][0];
        assert_eq!(
            (&token["token"], &token["logprob"], &token["bytes"]),
            (&json!("He"), &json!(-0.5), &json!([72, 101]))
        );
        assert_eq!(token["top_logprobs"][0]["logprob"], -9999.0);
    }
}
