//! `POST /api/chat`.

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
use crate::request_context::RequestContext;

/// Body of the request.
#[derive(Deserialize)]
pub(crate) struct ChatRequest {
    model: String,
    #[serde(default, deserialize_with = "nullable")]
    messages: Vec<ChatMessage>,
    #[serde(default)]
    tools: Option<Vec<Tool>>,
    format: Option<Value>,
    #[serde(default)]
    options: Option<Options>,
    stream: Option<bool>,
    think: Option<Value>,
    shift: Option<bool>,
    keep_alive: Option<Value>,
}

#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    #[serde(default, deserialize_with = "nullable")]
    content: String,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    images: Option<Vec<Value>>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
    #[serde(default)]
    tool_name: Option<String>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
struct Call {
    function: CalledFunction,
}

#[derive(Deserialize)]
struct CalledFunction {
    name: String,
    #[serde(default)]
    arguments: Value,
}

#[derive(Deserialize)]
struct Tool {
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default)]
    description: Option<String>,
    parameters: Option<Value>,
}

/// Goes on with a conversation. Without messages it only loads the model.
pub(crate) async fn chat(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(request): Json<ChatRequest>,
) -> Result<Response, Problem> {
    let id = inference.id_of(&request.model).await;
    let head = Head { model: request.model.clone(), started: Instant::now(), wording: InMessage };
    let lease_request = context.lease_request_for(&id, inference.limits.load_timeout, request.keep_alive()?);
    if request.messages.is_empty() {
        return load(&inference, &lease_request, &head).await;
    }
    let generation = request.generation()?;
    head.answer(ask(inference, lease_request, generation), request.stream != Some(false)).await
}

impl ChatRequest {
    fn keep_alive(&self) -> Result<Option<KeepAlive>, Problem> {
        self.keep_alive.as_ref().map_or(Ok(None), validation::keep_alive)
    }

    fn generation(&self) -> Result<wire::GenerateRequest, Problem> {
        let messages = self.messages.iter().map(ChatMessage::checked).collect::<Result<_, _>>()?;
        let tool = |tool: &Tool| {
            let Some(Function { name, description, parameters }) = &tool.function else {
                return Err(invalid("tools", "A tool has no `function`; only functions are known."));
            };
            validation::tool(name, description.as_deref().unwrap_or_default(), parameters.as_ref())
        };
        let tools = self.tools.iter().flatten().map(tool).collect::<Result<Vec<_>, _>>()?;
        let chat = wire::Chat {
            messages: validation::conversation("messages", messages)?,
            tools: validation::tools(&tools)?,
            template_arguments: thinking(self.think.as_ref()),
            ..wire::Chat::default()
        };
        let options = self.options.as_ref().unwrap_or(const { &Options::none() });
        let mut generation =
            options.generation(Input::Chat(chat), self.format.as_ref(), self.shift == Some(true))?;
        generation.max_reasoning_tokens = reasoning_limit(self.think.as_ref());
        Ok(generation)
    }
}

impl ChatMessage {
    fn checked(&self) -> Result<wire::ChatMessage, Problem> {
        let role = self.role.to_lowercase();
        if !matches!(role.as_str(), "system" | "user" | "assistant" | "tool") {
            let detail =
                format!("There is no role {:?}; there are system, user, assistant, tool.", self.role);
            return Err(invalid("messages", detail));
        }
        if self.images.as_ref().is_some_and(|images| !images.is_empty()) {
            return Err(invalid("messages", "Images are not yet supported; only text is."));
        }
        let call = |call: &Call| {
            let CalledFunction { name, arguments } = &call.function;
            wire::ToolCall {
                id: String::new(),
                name: name.clone(),
                arguments: validation::arguments(arguments),
            }
        };
        Ok(wire::ChatMessage {
            role,
            content: self.content.clone(),
            reasoning: self.thinking.clone().unwrap_or_default(),
            tool_calls: self.tool_calls.iter().flatten().map(call).collect(),
            tool_call_id: self.tool_call_id.clone().unwrap_or_default(),
            name: self.tool_name.clone().unwrap_or_default(),
        })
    }
}

/// Pieces are messages.
struct InMessage;

impl Wording for InMessage {
    fn piece(&self, text: &str, thought: &str, calls: &[wire::ToolCall]) -> Value {
        let mut message = json!({"role": "assistant", "content": text});
        if !thought.is_empty() {
            message["thinking"] = thought.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = told_calls(calls).into();
        }
        json!({"message": message})
    }
}

/// Whether these bytes are such a request. For the fuzz target.
pub(super) fn accepts(bytes: &[u8]) -> usize {
    let request = serde_json::from_slice::<ChatRequest>(bytes);
    usize::from(request.is_ok_and(|request| request.generation().is_ok() && request.keep_alive().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_checked_before_a_model_is_touched() {
        let said = |message: &Value| json!({"model": "m", "messages": [message]});
        for (body, param) in [
            (said(&json!({"role": "user", "content": "hi"})), None),
            (said(&json!({"role": "User", "content": "hi"})), None),
            (said(&json!({"role": "poet", "content": "hi"})), Some("messages")),
            (said(&json!({"role": "user", "content": "hi", "images": ["AA=="]})), Some("messages")),
            (said(&json!({"role": "user", "content": null})), None),
        ] {
            let request: ChatRequest = serde_json::from_value(body.clone()).expect("parses");
            let refused = request.generation().err().map(|problem| problem.to_json()["param"].clone());
            assert_eq!(refused, param.map(Value::from), "{body}");
        }
    }

    #[test]
    fn calls_come_and_go_as_objects() {
        let body = json!({"model": "m", "think": false, "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
            {"role": "tool", "tool_name": "f", "content": "done"},
        ]});
        let request: ChatRequest = serde_json::from_value(body).expect("parses");
        let Some(Input::Chat(chat)) = request.generation().expect("accepted").input else {
            panic!("not a chat")
        };
        assert_eq!(chat.messages[1].tool_calls[0].arguments, "{\"a\":1}");
        assert_eq!(chat.messages[2].name, "f");
        assert!(chat.template_arguments.contains("\"enable_thinking\":false"));
        let piece = InMessage.piece("", "", &chat.messages[1].tool_calls);
        assert_eq!(piece["message"]["tool_calls"][0]["function"]["arguments"], json!({"a": 1}));
    }
}
