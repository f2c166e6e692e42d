//! Chat requests: what OpenAI's clients may send, and what of it cannot be done here.

use actionbooster_chassis::Problem;
use actionbooster_scheduler::KeepAlive;
use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::generate_request::{Format, Input};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::sampling::SamplingFields;
use crate::api::choices;
use crate::api::lenient::{Integer, nullable};
use crate::api::reasoning::{budget, effort, template_arguments};
use crate::api::validation::{self, count, invalid};

/// Body of `POST /v1/chat/completions`. Unknown fields are ignored, as OpenAI does; known ones that
/// change the answer and cannot be honoured are refused.
#[derive(Deserialize)]
pub(crate) struct ChatRequest {
    pub(super) model: String,
    messages: Vec<ChatMessage>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_completion_tokens: Option<Integer>,
    #[serde(flatten)]
    sampling: SamplingFields,
    n: Option<Integer>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<ToolChoice>,
    parallel_tool_calls: Option<bool>,
    functions: Option<Value>,
    logprobs: Option<bool>,
    top_logprobs: Option<Integer>,
    response_format: Option<ResponseFormat>,
    modalities: Option<Vec<String>>,
    reasoning_effort: Option<String>,
    web_search_options: Option<Value>,
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
    /// The only call of a turn, before there were `tool_calls`.
    function_call: Option<CalledFunction>,
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
    #[serde(default, deserialize_with = "nullable")]
    text: String,
    #[serde(default, deserialize_with = "nullable")]
    refusal: String,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default, deserialize_with = "nullable")]
    id: String,
    function: Option<CalledFunction>,
}

#[derive(Deserialize)]
struct CalledFunction {
    name: String,
    #[serde(default)]
    arguments: Value,
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
    Other(IgnoredAny),
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
        self.choices()?;
        if self.stream_options.is_some() && !self.streams() {
            return Err(invalid("stream_options", "`stream_options` is only allowed with `stream: true`."));
        }
        let messages = self.messages.iter().map(ChatMessage::checked).collect::<Result<_, _>>()?;
        let (tool_choice, tool_name) = self.choice()?;
        let mut variables = effort(self.reasoning_effort.as_deref());
        variables.extend(self.chat_template_kwargs.clone().unwrap_or_default());
        let chat = wire::Chat {
            messages: validation::conversation("messages", messages)?,
            tools: self.shown_tools()?,
            tool_choice: tool_choice.into(),
            tool_name,
            template_arguments: template_arguments(variables),
            raw: false,
        };
        let mut generation = self.sampling.generation(Input::Chat(chat))?;
        if let Some(limit) = validation::token_limit("max_completion_tokens", self.max_completion_tokens)? {
            generation.max_tokens = limit;
        }
        generation.max_reasoning_tokens = budget(self.reasoning_effort.as_deref());
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
            Some(ToolChoice::Other(_)) => {
                let detail = "`tool_choice` must be none, auto, required or a function; give only the `tools` \
                              that may be called.";
                return Err(invalid("tool_choice", detail));
            }
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
        match (self.logprobs == Some(true), count("top_logprobs", self.top_logprobs, 0, 20)?) {
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
            ("functions", "the old form of `tools`, which is what to use,", holds_something(&self.functions)),
            ("modalities", "anything but text", sound),
            ("web_search_options", "a search of the web", self.web_search_options.is_some()),
        ];
        match unsupported.into_iter().find(|(_, _, asked)| *asked) {
            Some((name, what, _)) => Err(invalid(name, format!("`{name}`: {what} cannot be done here."))),
            None => Ok(()),
        }
    }

    /// Answers that are wanted.
    pub(super) fn choices(&self) -> Result<usize, Problem> {
        choices::wanted(self.n)
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
            "function" => "tool",
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
                let is_text = |part: &&Part| matches!(part.kind.as_str(), "text" | "refusal");
                if let Some(other) = parts.iter().find(|part| !is_text(part)) {
                    let detail =
                        format!("Content of type {:?} is not yet supported; only text is.", other.kind);
                    return Err(invalid("messages", detail));
                }
                parts.iter().flat_map(|part| [part.text.as_str(), part.refusal.as_str()]).collect()
            }
        };
        let called = |id: &str, function: &CalledFunction| wire::ToolCall {
            id: id.to_owned(),
            name: function.name.clone(),
            arguments: validation::arguments(&function.arguments),
        };
        let call = |call: &Call| match &call.function {
            Some(function) => Ok(called(&call.id, function)),
            None => {
                Err(invalid("messages", "A call in `tool_calls` has no `function`; only functions are read."))
            }
        };
        let mut tool_calls =
            self.tool_calls.iter().flatten().map(call).collect::<Result<Vec<_>, Problem>>()?;
        tool_calls.extend(self.function_call.iter().map(|function| called("", function)));
        Ok(wire::ChatMessage {
            role: role.to_owned(),
            content,
            reasoning: self.reasoning_content.clone().unwrap_or_default(),
            tool_calls,
            tool_call_id: self.tool_call_id.clone().unwrap_or_default(),
            name: self.name.clone().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests;
