//! What Anthropic's clients may send, in the runner's words.

use actionbooster_chassis::Problem;
use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::generate_request::Input;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::blocks::{Content, Message};
use crate::api::lenient::{Integer, nullable};
use crate::api::reasoning::{LEVEL, budget, effort, template_arguments};
use crate::api::validation::{self, invalid, within};

/// Body of `POST /v1/messages` and `POST /v1/messages/count_tokens`. Unknown fields are ignored.
#[derive(Deserialize)]
pub(crate) struct MessagesRequest {
    pub(super) model: String,
    messages: Vec<Message>,
    /// Absent where tokens are only counted.
    max_tokens: Option<Integer>,
    system: Option<Content>,
    stop_sequences: Option<Vec<String>>,
    stream: Option<bool>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<Integer>,
    output_config: Option<OutputConfig>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<ToolChoice>,
    thinking: Option<Thinking>,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default)]
    description: Option<String>,
    input_schema: Option<Value>,
}

#[derive(Deserialize)]
struct ToolChoice {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Deserialize)]
struct Thinking {
    #[serde(rename = "type")]
    kind: String,
    budget_tokens: Option<Integer>,
}

#[derive(Deserialize)]
struct OutputConfig {
    effort: Option<String>,
    format: Option<OutputFormat>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum OutputFormat {
    JsonSchema { schema: Value },
}

impl MessagesRequest {
    pub(super) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    /// Calls told at most.
    pub(super) fn most_calls(&self) -> usize {
        let one =
            self.tool_choice.as_ref().is_some_and(|choice| choice.disable_parallel_tool_use == Some(true));
        if one { 1 } else { usize::MAX }
    }

    /// The checked request.
    pub(super) fn generation(&self) -> Result<wire::GenerateRequest, Problem> {
        let Some(Integer(wanted)) = self.max_tokens else {
            return Err(invalid("max_tokens", "`max_tokens` is missing; say how long the answer may be."));
        };
        let max_tokens = u32::try_from(wanted).ok().filter(|tokens| *tokens > 0).ok_or_else(|| {
            invalid("max_tokens", format!("`max_tokens` is {wanted}; it must be at least 1."))
        })?;
        let sampling = wire::Sampling {
            temperature: within("temperature", self.temperature, 0.0, 1.0)?,
            top_p: within("top_p", self.top_p, 0.0, 1.0)?,
            top_k: self.top_k.map(validation::top_k),
            ..wire::Sampling::default()
        };
        Ok(wire::GenerateRequest {
            input: Some(Input::Chat(self.chat()?)),
            sampling: Some(sampling),
            max_tokens,
            max_reasoning_tokens: self.reasoning_limit()?,
            stop: validation::stops("stop_sequences", self.stop_sequences.clone().unwrap_or_default())?,
            format: self.format()?,
            ..wire::GenerateRequest::default()
        })
    }

    fn format(&self) -> Result<Option<wire::generate_request::Format>, Problem> {
        let format = self.output_config.as_ref().and_then(|config| config.format.as_ref());
        format
            .map(|OutputFormat::JsonSchema { schema }| validation::schema("output_config", schema))
            .transpose()
    }

    /// What the model reads before it answers.
    pub(super) fn chat(&self) -> Result<wire::Chat, Problem> {
        let system = match &self.system {
            None => String::new(),
            Some(content) => content.text("system")?,
        };
        let mut messages = Vec::with_capacity(self.messages.len() + 1);
        if !system.is_empty() {
            messages.push(validation::turn("system", system));
        }
        for message in &self.messages {
            message.turns(&mut messages)?;
        }
        let tool = |tool: &Tool| {
            if let Some(kind) = tool.kind.as_ref().filter(|kind| *kind != "custom") {
                let detail = format!(
                    "The tool {kind:?} is Anthropic's own; only tools with an `input_schema` are known."
                );
                return Err(invalid("tools", detail));
            }
            validation::tool(
                &tool.name,
                tool.description.as_deref().unwrap_or_default(),
                tool.input_schema.as_ref(),
            )
        };
        let tools = self.tools.iter().flatten().map(tool).collect::<Result<Vec<_>, _>>()?;
        let (tool_choice, tool_name) = self.choice()?;
        Ok(wire::Chat {
            messages: with_text(validation::conversation("messages", messages)?)?,
            tools: validation::tools(&tools)?,
            tool_choice: tool_choice.into(),
            tool_name,
            template_arguments: template_arguments(self.variables()),
            raw: false,
        })
    }

    /// Whether the model thinks is said by `thinking`, and how much it does by the effort.
    fn variables(&self) -> Map<String, Value> {
        let config = self.output_config.as_ref();
        let mut variables = effort(config.and_then(|config| config.effort.as_deref()));
        variables.retain(|name, _| name == LEVEL);
        if let Some(thinking) = &self.thinking {
            let wanted = thinking.kind != "disabled";
            variables.insert("enable_thinking".into(), wanted.into());
            variables.insert("thinking".into(), wanted.into());
        }
        variables
    }

    /// Tokens that the model may think: none where thinking is off, else what `thinking` or the effort says.
    fn reasoning_limit(&self) -> Result<Option<u32>, Problem> {
        let wanted = self.output_config.as_ref().and_then(|config| config.effort.as_deref());
        match &self.thinking {
            Some(Thinking { kind, .. }) if kind == "disabled" => Ok(Some(0)),
            Some(Thinking { budget_tokens: Some(Integer(tokens)), .. }) => {
                let tokens = u32::try_from(*tokens).ok().filter(|tokens| *tokens > 0).ok_or_else(|| {
                    let detail = format!("`thinking.budget_tokens` is {tokens}; it must be at least 1.");
                    invalid("thinking.budget_tokens", detail)
                })?;
                Ok(Some(tokens))
            }
            _ => Ok(budget(wanted)),
        }
    }

    fn choice(&self) -> Result<(wire::ToolChoice, String), Problem> {
        let Some(choice) = &self.tool_choice else { return Ok((wire::ToolChoice::Auto, String::new())) };
        let required = match (choice.kind.as_str(), &choice.name) {
            ("auto", _) => return Ok((wire::ToolChoice::Auto, String::new())),
            ("none", _) => return Ok((wire::ToolChoice::None, String::new())),
            ("any", _) => String::new(),
            ("tool", Some(name)) => name.clone(),
            (kind, _) => {
                let detail =
                    format!("`tool_choice` is {kind:?}; it must be auto, any, none, or tool with a name.");
                return Err(invalid("tool_choice", detail));
            }
        };
        let known = |tool: &Tool| required.is_empty() || tool.name == required;
        if !self.tools.iter().flatten().any(known) {
            return Err(invalid(
                "tool_choice",
                "`tool_choice` wants a call of a tool that is not among `tools`.",
            ));
        }
        Ok((wire::ToolChoice::Required, required))
    }
}

/// Anthropic, too, asks for some text.
fn with_text(turns: Vec<wire::ChatMessage>) -> Result<Vec<wire::ChatMessage>, Problem> {
    let empty = |turn: &wire::ChatMessage| turn.content.trim().is_empty() && turn.tool_calls.is_empty();
    if turns.iter().all(empty) {
        return Err(invalid("messages", "No message has any text; ask something."));
    }
    Ok(turns)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(more: &Value) -> Result<wire::GenerateRequest, Problem> {
        let mut body =
            json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        serde_json::from_value::<MessagesRequest>(body).expect("parses").generation()
    }

    #[test]
    fn requests_are_checked_before_a_model_is_touched() {
        let tool = json!([{"name": "f", "input_schema": {"type": "object"}}]);
        for (more, param) in [
            (json!({}), None),
            (json!({"system": [{"type": "text", "text": "brief"}], "stop_sequences": ["x"]}), None),
            (json!({"tools": tool, "tool_choice": {"type": "any"}}), None),
            (json!({"tools": tool, "tool_choice": {"type": "tool", "name": "g"}}), Some("tool_choice")),
            (json!({"tool_choice": {"type": "any"}}), Some("tool_choice")),
            (json!({"max_tokens": 0}), Some("max_tokens")),
            (json!({"temperature": 1.5}), Some("temperature")),
            (json!({"messages": []}), Some("messages")),
            (json!({"messages": [{"role": "poet", "content": "x"}]}), Some("messages")),
            (json!({"messages": [{"role": "user", "content": " "}]}), Some("messages")),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}),
                Some("messages"),
            ),
        ] {
            let refused = read(&more).err().map(|problem| problem.to_json()["param"].clone());
            assert_eq!(refused, param.map(Value::from), "{more}");
        }
    }

    #[test]
    fn results_of_tools_are_turns_of_their_own() {
        let messages = json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "wait"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "42", "is_error": true},
                {"type": "text", "text": "and now?"},
            ]},
        ]);
        let Some(Input::Chat(chat)) = read(&json!({"messages": messages})).expect("accepted").input else {
            panic!("not a chat")
        };
        let roles: Vec<&str> = chat.messages.iter().map(|turn| turn.role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "user"]);
        assert_eq!(chat.messages[1].tool_calls[0].arguments, "{\"a\":1}");
        assert_eq!(
            (chat.messages[2].tool_call_id.as_str(), chat.messages[2].content.as_str()),
            ("t1", "Error: 42")
        );
    }

    #[test]
    fn thinking_and_effort_reach_the_template() {
        let adaptive = json!({"type": "adaptive"});
        for (more, expected) in [
            (json!({}), json!(null)),
            (json!({"thinking": {"type": "disabled"}}), json!({"enable_thinking": false, "thinking": false})),
            (
                json!({"thinking": adaptive, "output_config": {"effort": "max"}}),
                json!({"enable_thinking": true, "thinking": true, "reasoning_effort": "high"}),
            ),
            (json!({"output_config": {"effort": "low"}}), json!({"reasoning_effort": "low"})),
        ] {
            let Some(Input::Chat(chat)) = read(&more).expect("accepted").input else { panic!("not a chat") };
            let variables = serde_json::from_str(&chat.template_arguments).unwrap_or(Value::Null);
            assert_eq!(variables, expected, "{more}");
        }
    }
}
