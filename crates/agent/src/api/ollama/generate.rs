//! `POST /api/generate`: one question without a conversation, or a prompt continued as it is.

use std::time::Instant;

use actionbooster_chassis::{Json, Problem};
use actionbooster_scheduler::KeepAlive;
use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::generate_request::Input;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::load;
use super::options::{Options, reasoning_limit, thinking};
use super::reply::{Head, Wording, told_calls};
use crate::api::lenient::nullable;
use crate::api::validation::{self, invalid};
use crate::ask::ask;
use crate::inference::Inference;
use crate::query::MOST_PROMPT_BYTES;
use crate::request_context::RequestContext;

/// Body of the request.
#[derive(Deserialize)]
pub(crate) struct GenerateRequest {
    model: String,
    #[serde(default, deserialize_with = "nullable")]
    prompt: String,
    system: Option<String>,
    suffix: Option<String>,
    template: Option<String>,
    context: Option<Vec<i64>>,
    images: Option<Vec<Value>>,
    raw: Option<bool>,
    format: Option<Value>,
    #[serde(default)]
    options: Option<Options>,
    stream: Option<bool>,
    think: Option<Value>,
    shift: Option<bool>,
    keep_alive: Option<Value>,
}

/// Answers a prompt. Without one it only loads the model.
pub(crate) async fn generate(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(request): Json<GenerateRequest>,
) -> Result<Response, Problem> {
    let id = inference.id_of(&request.model).await;
    let head = Head { model: request.model.clone(), started: Instant::now(), wording: InResponse };
    let lease_request = context.lease_request_for(&id, inference.limits.load_timeout, request.keep_alive()?);
    if request.prompt.is_empty() {
        return load(&inference, &lease_request, &head).await;
    }
    let generation = request.generation()?;
    head.answer(ask(inference, lease_request, generation), request.stream != Some(false)).await
}

impl GenerateRequest {
    fn keep_alive(&self) -> Result<Option<KeepAlive>, Problem> {
        self.keep_alive.as_ref().map_or(Ok(None), validation::keep_alive)
    }

    fn generation(&self) -> Result<wire::GenerateRequest, Problem> {
        let holds = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let unsupported = [
            ("suffix", holds(&self.suffix)),
            ("template", holds(&self.template)),
            ("context", self.context.as_ref().is_some_and(|tokens| !tokens.is_empty())),
            ("images", self.images.as_ref().is_some_and(|images| !images.is_empty())),
        ];
        if let Some((name, _)) = unsupported.into_iter().find(|(_, asked)| *asked) {
            return Err(invalid(
                name,
                format!("`{name}` cannot be used here; send a conversation to /api/chat."),
            ));
        }
        let input = if self.raw == Some(true) {
            let bytes = self.prompt.len();
            if bytes > MOST_PROMPT_BYTES {
                let detail = format!("`prompt` has {bytes} bytes; at most {MOST_PROMPT_BYTES} are read.");
                return Err(invalid("prompt", detail));
            }
            Input::Prompt(self.prompt.clone())
        } else {
            let system = self
                .system
                .iter()
                .filter(|text| !text.is_empty())
                .map(|text| validation::turn("system", text));
            let messages = system.chain([validation::turn("user", &self.prompt)]).collect();
            Input::Chat(wire::Chat {
                messages: validation::conversation("messages", messages)?,
                template_arguments: thinking(self.think.as_ref()),
                ..wire::Chat::default()
            })
        };
        let options = self.options.as_ref().unwrap_or(const { &Options::none() });
        let mut generation = options.generation(input, self.format.as_ref(), self.shift == Some(true))?;
        generation.max_reasoning_tokens = reasoning_limit(self.think.as_ref());
        Ok(generation)
    }
}

/// Pieces are in `response`.
struct InResponse;

impl Wording for InResponse {
    fn piece(&self, text: &str, thought: &str, calls: &[wire::ToolCall]) -> Value {
        let mut piece = json!({"response": text});
        if !thought.is_empty() {
            piece["thinking"] = thought.into();
        }
        if !calls.is_empty() {
            piece["tool_calls"] = told_calls(calls).into();
        }
        piece
    }
}

/// Whether these bytes are such a request. For the fuzz target.
pub(super) fn accepts(bytes: &[u8]) -> usize {
    let request = serde_json::from_slice::<GenerateRequest>(bytes);
    usize::from(request.is_ok_and(|request| request.generation().is_ok() && request.keep_alive().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_asked_or_continued() {
        let read = |body: &Value| -> Result<wire::GenerateRequest, Problem> {
            serde_json::from_value::<GenerateRequest>(body.clone()).expect("parses").generation()
        };
        let asked = read(&json!({"model": "m", "prompt": "hi", "system": "be brief"})).expect("accepted");
        let Some(Input::Chat(chat)) = asked.input else { panic!("not a chat") };
        assert_eq!(
            chat.messages.iter().map(|turn| turn.role.as_str()).collect::<Vec<_>>(),
            ["system", "user"]
        );
        let raw =
            read(&json!({"model": "m", "prompt": "hi", "raw": true, "stream": false})).expect("accepted");
        assert_eq!(raw.input, Some(Input::Prompt("hi".into())));
        for name in ["suffix", "template"] {
            let refused = read(&json!({"model": "m", "prompt": "hi", name: "x"})).expect_err("refused");
            assert_eq!(refused.to_json()["param"], name);
        }
        assert!(read(&json!({"model": "m", "prompt": "hi", "context": [1]})).is_err());
    }
}
