//! Chat requests: what OpenAI's clients may send, and what of it cannot be done here.

use actionbooster_chassis::Problem;
use actionbooster_scheduler::KeepAlive;
use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::generate_request::{Format, Input};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::sampling::SamplingFields;
use crate::api::validation::{self, invalid};

/// Body of `POST /v1/chat/completions`. Unknown fields are ignored, as OpenAI does; known ones that
/// change the answer and cannot be honoured are refused.
#[derive(Deserialize)]
pub(crate) struct ChatRequest {
    pub(super) model: String,
    messages: Vec<ChatMessage>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_completion_tokens: Option<u32>,
    #[serde(flatten)]
    sampling: SamplingFields,
    n: Option<u32>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<ToolChoice>,
    parallel_tool_calls: Option<bool>,
    functions: Option<Value>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
    response_format: Option<ResponseFormat>,
    modalities: Option<Vec<String>>,
    /// Not OpenAI's: more variables for the model's chat template, such as `enable_thinking`.
    chat_template_kwargs: Option<Map<String, Value>>,
    /// Not OpenAI's: how long the model stays loaded, in seconds or as text such as `5m`.
    keep_alive: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    content: Option<Content>,
    name: Option<String>,
    tool_calls: Option<Vec<Call>>,
    tool_call_id: Option<String>,
    reasoning_content: Option<String>,
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

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: String,
    function: CalledFunction,
}

#[derive(Deserialize)]
struct CalledFunction {
    name: String,
    #[serde(default)]
    arguments: String,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(rename = "type")]
    kind: String,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    description: Option<String>,
    parameters: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ToolChoice {
    Word(String),
    Named { function: NamedFunction },
}

#[derive(Deserialize)]
struct NamedFunction {
    name: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat {
    Text,
    JsonObject { schema: Option<Value> },
    JsonSchema { json_schema: NamedSchema },
}

#[derive(Deserialize)]
struct NamedSchema {
    schema: Option<Value>,
}

impl ChatRequest {
    pub(super) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    pub(super) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true))
    }

    /// The checked request in the runner's words.
    pub(super) fn generation(&self) -> Result<wire::GenerateRequest, Problem> {
        self.refuse_unsupported()?;
        if self.stream_options.is_some() && !self.streams() {
            return Err(invalid("stream_options", "`stream_options` is only allowed with `stream: true`."));
        }
        let messages = self.messages.iter().map(ChatMessage::checked).collect::<Result<_, _>>()?;
        let (tool_choice, tool_name) = self.choice()?;
        let kwargs = self.chat_template_kwargs.as_ref();
        let chat = wire::Chat {
            messages: validation::conversation(messages)?,
            tools: self.shown_tools()?,
            tool_choice: tool_choice.into(),
            tool_name,
            template_arguments: kwargs
                .map_or_else(String::new, |kwargs| Value::from(kwargs.clone()).to_string()),
            raw: false,
        };
        let mut generation = self.sampling.generation(Input::Chat(chat))?;
        if let Some(limit) = self.max_completion_tokens {
            if limit == 0 {
                return Err(invalid("max_completion_tokens", "`max_completion_tokens` must be at least 1."));
            }
            generation.max_tokens = limit;
        }
        generation.logprobs = self.told_logprobs()?;
        if let Some(format) = self.format()? {
            generation.format = Some(format);
        }
        Ok(generation)
    }

    fn choice(&self) -> Result<(wire::ToolChoice, String), Problem> {
        let nothing = String::new;
        let has_tools = self.tools.as_ref().is_some_and(|tools| !tools.is_empty());
        let required = match &self.tool_choice {
            None => return Ok((wire::ToolChoice::Auto, nothing())),
            Some(ToolChoice::Word(word)) => match word.as_str() {
                "auto" => return Ok((wire::ToolChoice::Auto, nothing())),
                "none" => return Ok((wire::ToolChoice::None, nothing())),
                "required" => nothing(),
                other => {
                    let detail =
                        format!("`tool_choice` is {other:?}; it must be none, auto, required or a function.");
                    return Err(invalid("tool_choice", detail));
                }
            },
            Some(ToolChoice::Named { function }) => function.name.clone(),
        };
        if !has_tools {
            return Err(invalid("tool_choice", "`tool_choice` wants a call, and there are no `tools`."));
        }
        let named = |tool: &Tool| tool.function.as_ref().is_some_and(|function| function.name == required);
        if !required.is_empty() && !self.tools.iter().flatten().any(named) {
            return Err(invalid("tool_choice", format!("There is no tool {required:?} among `tools`.")));
        }
        Ok((wire::ToolChoice::Required, required))
    }

    fn shown_tools(&self) -> Result<String, Problem> {
        let shown = |tool: &Tool| match &tool.function {
            Some(function) if tool.kind == "function" => validation::tool(
                &function.name,
                function.description.as_deref().unwrap_or_default(),
                function.parameters.as_ref(),
            ),
            _ => Err(invalid(
                "tools",
                format!("Tools of type {:?} are not known; only functions are.", tool.kind),
            )),
        };
        let shown = self.tools.iter().flatten().map(shown).collect::<Result<Vec<_>, _>>()?;
        validation::tools(&shown)
    }

    fn told_logprobs(&self) -> Result<Option<u32>, Problem> {
        match (self.logprobs == Some(true), self.top_logprobs) {
            (_, Some(count)) if count > 20 => Err(invalid(
                "top_logprobs",
                format!("`top_logprobs` is {count}; it must be between 0 and 20."),
            )),
            (false, Some(count)) if count > 0 => {
                Err(invalid("top_logprobs", "`top_logprobs` is only allowed with `logprobs: true`."))
            }
            (true, count) => Ok(Some(count.unwrap_or(0))),
            (false, _) => Ok(None),
        }
    }

    fn format(&self) -> Result<Option<Format>, Problem> {
        let schema = match &self.response_format {
            None | Some(ResponseFormat::Text) => return Ok(None),
            Some(ResponseFormat::JsonObject { schema: None }) => return Ok(Some(Format::JsonObject(true))),
            Some(ResponseFormat::JsonObject { schema }) => schema,
            Some(ResponseFormat::JsonSchema { json_schema }) => &json_schema.schema,
        };
        let schema = schema
            .as_ref()
            .ok_or_else(|| invalid("response_format", "`response_format.json_schema` has no `schema`."))?;
        validation::schema("response_format", schema).map(Some)
    }

    fn refuse_unsupported(&self) -> Result<(), Problem> {
        let holds_something = |value: &Option<Value>| match value {
            None | Some(Value::Null) => false,
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::Object(members)) => !members.is_empty(),
            Some(_) => true,
        };
        let sound = self.modalities.as_ref().is_some_and(|kinds| kinds.iter().any(|kind| kind != "text"));
        let unsupported = [
            ("n", "more than one choice; ask several times", self.n.is_some_and(|n| n != 1)),
            ("functions", "the old form of `tools`; use `tools`", holds_something(&self.functions)),
            ("modalities", "anything but text", sound),
        ];
        match unsupported.into_iter().find(|(_, _, asked)| *asked) {
            Some((name, what, _)) => Err(invalid(name, format!("`{name}`: {what} cannot be done here."))),
            None => Ok(()),
        }
    }

    pub(super) fn keep_alive(&self) -> Result<Option<KeepAlive>, Problem> {
        self.keep_alive.as_ref().map_or(Ok(None), validation::keep_alive)
    }

    /// Calls told at most; with `parallel_tool_calls: false` only the first is.
    pub(super) fn most_calls(&self) -> usize {
        if self.parallel_tool_calls == Some(false) { 1 } else { usize::MAX }
    }
}

impl ChatMessage {
    fn checked(&self) -> Result<wire::ChatMessage, Problem> {
        let role = match self.role.as_str() {
            "developer" => "system",
            role @ ("system" | "user" | "assistant" | "tool") => role,
            other => {
                let detail = format!(
                    "There is no role {other:?}; there are system, developer, user, assistant, tool."
                );
                return Err(invalid("messages", detail));
            }
        };
        let content = match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                if let Some(other) = parts.iter().find(|part| part.kind != "text") {
                    let detail =
                        format!("Content of type {:?} is not yet supported; only text is.", other.kind);
                    return Err(invalid("messages", detail));
                }
                parts.iter().map(|part| part.text.as_str()).collect()
            }
        };
        let call = |call: &Call| {
            let CalledFunction { name, arguments } = &call.function;
            let arguments = validation::arguments(name, arguments)?;
            Ok(wire::ToolCall { id: call.id.clone(), name: name.clone(), arguments })
        };
        Ok(wire::ChatMessage {
            role: role.to_owned(),
            content,
            reasoning: self.reasoning_content.clone().unwrap_or_default(),
            tool_calls: self.tool_calls.iter().flatten().map(call).collect::<Result<_, Problem>>()?,
            tool_call_id: self.tool_call_id.clone().unwrap_or_default(),
            name: self.name.clone().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::query::MOST_PROMPT_BYTES;

    const TOOLS: &str = ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]";

    #[test]
    fn requests_are_checked_before_a_model_is_touched() {
        let base = |more: &str| {
            format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]{more}}}")
        };
        let said = |message: &str| format!("{{\"model\":\"m\",\"messages\":[{message}]}}");
        let long =
            said(&format!("{{\"role\":\"user\",\"content\":{:?}}}", "x".repeat(MOST_PROMPT_BYTES + 1)));
        let cases = [
            (base(""), None),
            (base(",\"temperature\":0.5,\"seed\":-1,\"stop\":[\"a\"],\"unknown\":1"), None),
            (
                base(
                    ",\"temperature\":null,\"stop\":null,\"n\":1,\"tools\":null,\"stream\":null,\"max_tokens\":null",
                ),
                None,
            ),
            (
                base(
                    ",\"response_format\":{\"type\":\"text\"},\"tools\":[],\"tool_choice\":\"none\",\"logit_bias\":{}",
                ),
                None,
            ),
            (base(",\"stream\":true,\"stream_options\":{\"include_usage\":true}"), None),
            (base(",\"stream_options\":{\"include_usage\":true}"), Some("stream_options")),
            (base(",\"temperature\":3"), Some("temperature")),
            (base(",\"top_p\":-1"), Some("top_p")),
            (base(",\"frequency_penalty\":-2.5"), Some("frequency_penalty")),
            (base(",\"presence_penalty\":9"), Some("presence_penalty")),
            (base(",\"max_tokens\":0"), Some("max_tokens")),
            (base(",\"max_tokens\":5,\"max_completion_tokens\":0"), Some("max_completion_tokens")),
            (base(",\"n\":2"), Some("n")),
            (base(",\"tools\":[{\"type\":\"web_search\"}]"), Some("tools")),
            (base(",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]"), Some("tools")),
            (base(TOOLS), None),
            (base(&format!("{TOOLS},\"tool_choice\":\"required\"")), None),
            (base(&format!("{TOOLS},\"tool_choice\":\"maybe\"")), Some("tool_choice")),
            (
                base(&format!(
                    "{TOOLS},\"tool_choice\":{{\"type\":\"function\",\"function\":{{\"name\":\"g\"}}}}"
                )),
                Some("tool_choice"),
            ),
            (base(",\"tool_choice\":\"required\""), Some("tool_choice")),
            (base(",\"functions\":[{}]"), Some("functions")),
            (base(",\"logprobs\":true,\"top_logprobs\":2"), None),
            (base(",\"logprobs\":true,\"top_logprobs\":21"), Some("top_logprobs")),
            (base(",\"top_logprobs\":2"), Some("top_logprobs")),
            (base(",\"logit_bias\":{\"1\":5}"), None),
            (base(",\"logit_bias\":{\"x\":5}"), Some("logit_bias")),
            (base(",\"logit_bias\":{\"1\":500}"), Some("logit_bias")),
            (base(",\"response_format\":{\"type\":\"json_object\"}"), None),
            (
                base(",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}"),
                Some("response_format"),
            ),
            (base(",\"modalities\":[\"text\",\"audio\"]"), Some("modalities")),
            (base(&format!(",\"stop\":[{}\"x\"]", "\"x\",".repeat(16))), Some("stop")),
            (base(",\"stop\":\"\""), Some("stop")),
            (said(""), Some("messages")),
            (said("{\"role\":\"user\",\"content\":\" \"}"), Some("messages")),
            (said("{\"role\":\"poet\",\"content\":\"x\"}"), Some("messages")),
            (
                said(
                    "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":\"f\",\"arguments\":\"no\"}}]}",
                ),
                Some("messages"),
            ),
            (said("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}"), Some("messages")),
            (long, Some("messages")),
        ];
        for (text, expected) in cases {
            let shown: String = text.chars().take(120).collect();
            let request: ChatRequest = serde_json::from_str(&text).expect(&shown);
            match (request.generation(), expected) {
                (Ok(_), None) => {}
                (Err(problem), Some(param)) => {
                    assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{shown}");
                    assert_eq!(problem.to_json()["param"], param, "{shown}: {}", problem.detail());
                }
                (got, wanted) => panic!("{shown}: {got:?} instead of {wanted:?}"),
            }
        }
    }

    #[test]
    fn what_is_asked_reaches_the_runner() {
        let request: ChatRequest = serde_json::from_str(
            "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},\
             {\"type\":\"text\",\"text\":\"b\"}]}],\"max_tokens\":9,\"max_completion_tokens\":7,\"stop\":\"x\",\
             \"seed\":4294967297,\"top_p\":0.5,\"logprobs\":true,\"logit_bias\":{\"7\":-100},\
             \"chat_template_kwargs\":{\"enable_thinking\":false},\
             \"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"s\",\"schema\":{\"type\":\"object\"}}},\
             \"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\
             \"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}",
        )
        .expect("parses");
        let generation = request.generation().expect("accepted");
        let Some(Input::Chat(chat)) = generation.input else { panic!("not a chat") };
        assert_eq!((chat.messages[0].role.as_str(), chat.messages[0].content.as_str()), ("system", "ab"));
        assert_eq!((chat.tool_choice(), chat.tool_name.as_str()), (wire::ToolChoice::Required, "f"));
        assert_eq!(chat.template_arguments, "{\"enable_thinking\":false}");
        assert!(chat.tools.contains("\"name\":\"f\""), "{}", chat.tools);
        assert_eq!((generation.max_tokens, generation.stop), (7, vec!["x".to_owned()]));
        assert_eq!(generation.logprobs, Some(0));
        assert_eq!(generation.format, Some(Format::JsonSchema("{\"type\":\"object\"}".into())));
        let sampling = generation.sampling.expect("sampling");
        assert_eq!((sampling.seed, sampling.top_p, sampling.temperature), (Some(1), Some(0.5), None));
        assert_eq!(sampling.logit_bias, [wire::LogitBias { token: 7, bias: -100.0 }]);
    }
}
