//! The OpenAI API as its official clients need it: models and chat completions, streaming included.

use std::convert::Infallible;

use actionbooster_chassis::{Json, Problem, unix_now};
use actionbooster_wire::runner::v1 as wire;
use async_stream::stream;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Shared;
use crate::ask::{AskError, Piece, Pieces, ask};

/// Body of `POST /v1/chat/completions`. Unknown fields are ignored, as OpenAI does.
#[derive(Deserialize)]
pub(crate) struct ChatRequest {
    model: String,
    messages: Vec<ChatMessage>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    seed: Option<i64>,
    stop: Option<Stop>,
    n: Option<u32>,
    tools: Option<Value>,
    logprobs: Option<bool>,
    response_format: Option<Value>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
}

/// A problem in OpenAI's own shape.
pub(crate) fn error_shape(problem: &Problem) -> Response {
    let kind = match problem.status().as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "server_error",
    };
    let error = json!({"message": problem.detail(), "type": kind, "param": null, "code": problem.kind()});
    let body = json!({"error": error}).to_string();
    (problem.status(), [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// `GET /v1/models`.
pub(crate) async fn models(State(agent): State<Shared>) -> Json<Value> {
    let (models, _) = agent.store.list();
    let data: Vec<Value> = models.keys().map(|id| described(id)).collect();
    Json(json!({"object": "list", "data": data}))
}

/// `GET /v1/models/{id}`.
pub(crate) async fn model(
    State(agent): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    if agent.store.find(&id).is_some() {
        return Ok(Json(described(&id)));
    }
    let detail = format!("There is no model {id}.");
    Err(Problem::new(StatusCode::NOT_FOUND, "model_not_found", "There is no such model", detail))
}

fn described(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": "actionbooster"})
}

/// `POST /v1/chat/completions`.
pub(crate) async fn chat(
    State(agent): State<Shared>,
    Json(request): Json<ChatRequest>,
) -> Result<Response, Problem> {
    let generation = request.generation()?;
    let head = Head {
        id: format!("chatcmpl-{:016x}", rand::random::<u64>()),
        created: unix_now(),
        model: request.model,
    };
    let mut pieces = ask(agent, head.model.clone(), generation);
    // An error before the first piece still has a status of its own.
    let first = match pieces.next().await {
        Some(Err(error)) => return Err(error.problem()),
        Some(Ok(piece)) => Some(piece),
        None => None,
    };
    if request.stream {
        let usage = request.stream_options.is_some_and(|options| options.include_usage);
        let chunks = chunks(head, first, pieces, usage);
        return Ok(Sse::new(chunks).keep_alive(KeepAlive::default()).into_response());
    }
    let mut text = String::new();
    let mut account = wire::Finished::default();
    let mut next: Option<Result<Piece, AskError>> = first.map(Ok);
    while let Some(piece) = next {
        match piece.map_err(|error| error.problem())? {
            Piece::Text(more) => text.push_str(&more),
            Piece::End(end) => account = end,
        }
        next = pieces.next().await;
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

struct Head {
    id: String,
    created: i64,
    model: String,
}

impl Head {
    fn chunk(&self, choices: &Value, usage: &Value) -> Event {
        let mut body = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if !usage.is_null() {
            body["usage"] = usage.clone();
        }
        Event::default().data(body.to_string())
    }
}

fn delta(delta: &Value, finish: Option<&str>) -> Value {
    json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}])
}

fn chunks(
    head: Head,
    first: Option<Piece>,
    mut pieces: Pieces,
    include_usage: bool,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream! {
        yield Ok(head.chunk(&delta(&json!({"role": "assistant", "content": ""}), None), &Value::Null));
        let mut next: Option<Result<Piece, AskError>> = first.map(Ok);
        while let Some(piece) = next {
            match piece {
                Ok(Piece::Text(text)) => yield Ok(head.chunk(&delta(&json!({"content": text}), None), &Value::Null)),
                Ok(Piece::End(account)) => {
                    yield Ok(head.chunk(&delta(&json!({}), Some(finish_reason(&account))), &Value::Null));
                    if include_usage {
                        yield Ok(head.chunk(&json!([]), &usage_of(&account)));
                    }
                }
                Err(error) => {
                    // The status is sent already; clients read an error object in the stream.
                    let problem = error.problem();
                    let error = json!({"message": problem.detail(), "type": "server_error", "code": problem.kind()});
                    yield Ok(Event::default().data(json!({"error": error}).to_string()));
                    return;
                }
            }
            next = pieces.next().await;
        }
        yield Ok(Event::default().data("[DONE]"));
    }
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

impl ChatRequest {
    /// The checked request in the runner's words.
    fn generation(&self) -> Result<wire::GenerateRequest, Problem> {
        self.refuse_unsupported()?;
        if self.messages.is_empty() {
            return Err(invalid("`messages` is empty; send at least one message."));
        }
        let messages = self.messages.iter().map(ChatMessage::checked).collect::<Result<Vec<_>, _>>()?;
        let stop = match &self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop.clone()],
            Some(Stop::Several(stops)) if stops.len() <= 4 => stops.clone(),
            Some(Stop::Several(_)) => return Err(invalid("`stop` may name at most 4 texts.")),
        };
        let sampling = wire::Sampling {
            temperature: within("temperature", self.temperature, 0.0, 2.0)?,
            top_p: within("top_p", self.top_p, 0.0, 1.0)?,
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?,
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0, 2.0)?,
            // Any integer is a seed; the engine takes 32 bits of it.
            seed: self.seed.map(|seed| (seed & 0xffff_ffff) as u32),
            ..wire::Sampling::default()
        };
        let max_tokens = self.max_completion_tokens.or(self.max_tokens).unwrap_or(0);
        if max_tokens == 0 && (self.max_tokens.is_some() || self.max_completion_tokens.is_some()) {
            return Err(invalid("`max_tokens` must be at least 1."));
        }
        let input = Some(wire::generate_request::Input::Chat(wire::Chat { messages }));
        Ok(wire::GenerateRequest { input, sampling: Some(sampling), max_tokens, stop })
    }

    fn refuse_unsupported(&self) -> Result<(), Problem> {
        let format = self.response_format.as_ref().and_then(|format| format["type"].as_str());
        let unsupported = [
            ("n other than 1", self.n.is_some_and(|n| n != 1)),
            ("tools", self.tools.as_ref().and_then(Value::as_array).is_some_and(|tools| !tools.is_empty())),
            ("logprobs", self.logprobs == Some(true)),
            ("response_format other than text", format.is_some_and(|kind| kind != "text")),
        ];
        match unsupported.into_iter().find(|(_, asked)| *asked) {
            Some((name, _)) => {
                Err(invalid(format!("{name} is not supported by this version; leave it out.")))
            }
            None => Ok(()),
        }
    }
}

impl ChatMessage {
    fn checked(&self) -> Result<wire::ChatMessage, Problem> {
        let role = match self.role.as_str() {
            "developer" => "system",
            role @ ("system" | "user" | "assistant" | "tool") => role,
            other => {
                return Err(invalid(format!(
                    "There is no role {other:?}; there are system, user, assistant, tool."
                )));
            }
        };
        let content = match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                if let Some(other) = parts.iter().find(|part| part.kind != "text") {
                    return Err(invalid(format!(
                        "Content of type {:?} is not supported; only text is.",
                        other.kind
                    )));
                }
                parts.iter().map(|part| part.text.as_str()).collect()
            }
        };
        Ok(wire::ChatMessage { role: role.to_owned(), content })
    }
}

fn within(name: &str, value: Option<f32>, low: f32, high: f32) -> Result<Option<f32>, Problem> {
    match value {
        Some(number) if !(low..=high).contains(&number) => {
            Err(invalid(format!("`{name}` is {number}; it must be between {low} and {high}.")))
        }
        other => Ok(other),
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_request", "The request is not valid", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_checked_before_a_model_is_touched() {
        let base = |more: &str| {
            format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]{more}}}")
        };
        let cases = [
            (base(""), None),
            (base(",\"temperature\":0.5,\"seed\":-1,\"stop\":[\"a\"],\"unknown\":1"), None),
            (base(",\"response_format\":{\"type\":\"text\"},\"tools\":[]"), None),
            (base(",\"temperature\":3"), Some("temperature")),
            (base(",\"top_p\":-1"), Some("top_p")),
            (base(",\"max_tokens\":0"), Some("max_tokens")),
            (base(",\"n\":2"), Some("n other than 1")),
            (base(",\"tools\":[{}]"), Some("tools")),
            (base(",\"logprobs\":true"), Some("logprobs")),
            (base(",\"response_format\":{\"type\":\"json_schema\"}"), Some("response_format")),
            (base(",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\"]"), Some("stop")),
            ("{\"model\":\"m\",\"messages\":[]}".into(), Some("messages")),
            ("{\"model\":\"m\",\"messages\":[{\"role\":\"poet\",\"content\":\"x\"}]}".into(), Some("role")),
            (
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}"
                    .into(),
                Some("image_url"),
            ),
        ];
        for (text, expected) in cases {
            let request: ChatRequest = serde_json::from_str(&text).expect("parses");
            match (request.generation(), expected) {
                (Ok(_), None) => {}
                (Err(problem), Some(part)) => {
                    assert!(problem.detail().contains(part), "{part}: {}", problem.detail());
                }
                (got, wanted) => panic!("{text}: {got:?} instead of {wanted:?}"),
            }
        }
    }

    #[test]
    fn text_parts_are_joined() {
        let message: ChatMessage = serde_json::from_str(
            "{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}",
        )
        .expect("parses");
        let checked = message.checked().expect("accepted");
        assert_eq!((checked.role.as_str(), checked.content.as_str()), ("system", "ab"));
    }
}
