//! What goes back: completions, chunks and errors in OpenAI's shapes.

use std::convert::Infallible;

use actionbooster_chassis::{Json, Problem, unix_now};
use actionbooster_wire::runner::v1 as wire;
use async_stream::stream;
use axum::http::{StatusCode, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::api::backpressure::with_backpressure;
use crate::api::choices::{self, Numbered, Total};
use crate::api::stream::server_sent;
use crate::ask::{Answer, Piece};

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
    /// Answers that are asked for.
    choices: usize,
    /// Calls told at most.
    most_calls: usize,
    /// Whether tokens are told with their probabilities.
    logprobs: bool,
}

impl Head {
    pub(super) fn new(model: String, choices: usize, most_calls: usize, logprobs: bool) -> Self {
        let id = format!("chatcmpl-{:016x}", rand::random::<u64>());
        Self { id, created: unix_now(), model, choices, most_calls, logprobs }
    }

    fn choice(&self, index: usize, mut answer: Answer) -> Value {
        answer.calls.truncate(self.most_calls);
        let calls: Vec<Value> = answer.calls.iter().map(call).collect();
        let reason = finish_reason(&answer.account, !calls.is_empty());
        let content =
            if answer.text.is_empty() && !calls.is_empty() { Value::Null } else { answer.text.into() };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !answer.reasoning.is_empty() {
            message["reasoning_content"] = answer.reasoning.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        let logprobs = if self.logprobs {
            json!({"content": tokens(&answer.logprobs), "refusal": null})
        } else {
            Value::Null
        };
        json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason})
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
pub(super) async fn whole(head: Head, pieces: Numbered) -> Result<Response, Problem> {
    let answers = choices::collect(pieces, head.choices).await.map_err(|error| error.problem())?;
    let mut total = Total::of_prompts(head.choices);
    let mut told = Vec::with_capacity(answers.len());
    for (index, answer) in answers.into_iter().enumerate() {
        total.add(index, &answer.account);
        told.push(head.choice(index, answer));
    }
    Ok(Json(json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": told,
        "usage": usage_of(&total.account),
        "timings": timings_of(&total.account),
    }))
    .into_response())
}

/// The completion as server-sent events.
pub(super) fn chunks(head: Head, pieces: Numbered, include_usage: bool) -> impl IntoResponse {
    let mut pieces = Box::pin(with_backpressure(pieces));
    // With usage asked for, every chunk but the last says that it has none.
    let no_usage = move || include_usage.then_some(("usage", Value::Null));
    let events = stream! {
        for index in 0..head.choices {
            let begin = delta(index, &json!({"role": "assistant", "content": ""}));
            yield Ok::<_, Infallible>(head.chunk(&begin, no_usage()));
        }
        let mut calls = vec![0; head.choices];
        let mut total = Total::of_prompts(head.choices);
        while let Some(piece) = pieces.next().await {
            // The status is sent already; clients read an error object in the stream.
            let failure = match piece {
                Ok(Ok((index, Piece::Text(more)))) => {
                    let mut choices = delta(index, &json!({"content": more.text}));
                    if head.logprobs {
                        choices[0]["logprobs"] = json!({"content": tokens(&more.logprobs), "refusal": null});
                    }
                    yield Ok(head.chunk(&choices, no_usage()));
                    continue;
                }
                Ok(Ok((index, Piece::Reasoning(more)))) => {
                    yield Ok(head.chunk(&delta(index, &json!({"reasoning_content": more})), no_usage()));
                    continue;
                }
                Ok(Ok((index, Piece::Call(_)))) if calls[index] >= head.most_calls => continue,
                Ok(Ok((index, Piece::Call(called)))) => {
                    let mut told = call(&called);
                    told["index"] = calls[index].into();
                    calls[index] += 1;
                    yield Ok(head.chunk(&delta(index, &json!({"tool_calls": [told]})), no_usage()));
                    continue;
                }
                Ok(Ok((index, Piece::End(account)))) => {
                    total.add(index, &account);
                    let mut finish = delta(index, &json!({}));
                    finish[0]["finish_reason"] = finish_reason(&account, calls[index] > 0).into();
                    let timings = (!include_usage).then(|| ("timings", timings_of(&account)));
                    yield Ok(head.chunk(&finish, timings.or_else(no_usage)));
                    continue;
                }
                Ok(Err(error)) => error.problem(),
                Err(stalled) => stalled.problem(),
            };
            yield Ok(Event::default().data(json!({"error": error(&failure)}).to_string()));
            return;
        }
        if include_usage {
            yield Ok(head.chunk(&json!([]), Some(("usage", usage_of(&total.account)))));
        }
        yield Ok(Event::default().data("[DONE]"));
    };
    server_sent(events)
}

fn delta(index: usize, delta: &Value) -> Value {
    json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": null}])
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
        "completion_tokens_details": {"reasoning_tokens": account.reasoning_tokens},
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
mod tests;
