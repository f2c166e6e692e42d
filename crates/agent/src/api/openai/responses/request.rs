//! What clients may send to `POST /v1/responses`, in the runner's words.

use actionbooster_chassis::Problem;
use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::generate_request::{Format, Input};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::items::{Turns, with_instructions};
use super::store::StoredResponses;
use super::tools::Tools;
use crate::api::lenient::Integer;
use crate::api::openai::sampling::SamplingFields;
use crate::api::reasoning::{budget, effort, template_arguments};
use crate::api::validation::{self, count, invalid};

/// What `include` asks for that can be told.
const LOGPROBS: &str = "message.output_text.logprobs";

/// Body of the request. Unknown fields are ignored; known ones that change the answer and cannot be honoured are
/// refused.
#[derive(Deserialize)]
pub(crate) struct ResponseRequest {
    pub(super) model: String,
    input: Option<Value>,
    instructions: Option<String>,
    pub(super) previous_response_id: Option<String>,
    max_output_tokens: Option<Integer>,
    #[serde(flatten)]
    sampling: SamplingFields,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    text: Option<TextConfig>,
    reasoning: Option<Reasoning>,
    include: Option<Vec<Value>>,
    top_logprobs: Option<Integer>,
    store: Option<bool>,
    stream: Option<bool>,
    background: Option<bool>,
    conversation: Option<Value>,
    prompt: Option<Value>,
    /// What is told again as it came.
    metadata: Option<Value>,
    user: Option<Value>,
    safety_identifier: Option<Value>,
    prompt_cache_key: Option<Value>,
    /// Not OpenAI's: more variables for the model's chat template, such as `enable_thinking`.
    chat_template_kwargs: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct TextConfig {
    format: Option<TextFormat>,
    verbosity: Option<Value>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum TextFormat {
    Text,
    JsonObject,
    JsonSchema { name: Option<String>, schema: Option<Value>, strict: Option<bool> },
}

#[derive(Deserialize)]
struct Reasoning {
    effort: Option<String>,
    summary: Option<Value>,
}

/// A checked request.
pub(super) struct Checked {
    pub(super) generation: wire::GenerateRequest,
    /// The conversation without the instructions, which are this request's own.
    pub(super) turns: Vec<wire::ChatMessage>,
    pub(super) tools: Tools,
}

impl ResponseRequest {
    pub(super) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    pub(super) fn is_kept(&self) -> bool {
        self.store != Some(false)
    }

    /// Calls told at most.
    pub(super) fn most_calls(&self) -> usize {
        if self.parallel_tool_calls == Some(false) { 1 } else { usize::MAX }
    }

    /// The checked request; what it names is looked up among what was kept for its key.
    pub(super) fn checked(&self, store: &StoredResponses, owner: &str) -> Result<Checked, Problem> {
        self.refuse_unsupported()?;
        let given = self.tools.as_deref().unwrap_or_default();
        let tools = Tools::read(given, self.tool_choice.as_ref())?;
        let turns = self.turns(store, owner)?;
        let instructions = self.instructions.as_deref().unwrap_or_default();
        let messages = with_instructions(instructions, turns.clone());
        let wanted = self.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_deref());
        let mut variables = effort(wanted);
        variables.extend(self.chat_template_kwargs.clone().unwrap_or_default());
        let mut chat = wire::Chat {
            messages: validation::conversation("input", messages)?,
            template_arguments: template_arguments(variables),
            ..wire::Chat::default()
        };
        tools.show(&mut chat)?;
        let mut generation = self.sampling.generation(Input::Chat(chat))?;
        if let Some(limit) = validation::token_limit("max_output_tokens", self.max_output_tokens)? {
            generation.max_tokens = limit;
        }
        generation.max_reasoning_tokens = budget(wanted);
        let alternatives = count("top_logprobs", self.top_logprobs, 0, 20)?.unwrap_or(0);
        let asked = self.include.iter().flatten().any(|included| included == LOGPROBS);
        generation.logprobs = (asked || alternatives > 0).then_some(alternatives);
        if let Some(format) = self.format()? {
            generation.format = Some(format);
        }
        Ok(Checked { generation, turns, tools })
    }

    fn turns(&self, store: &StoredResponses, owner: &str) -> Result<Vec<wire::ChatMessage>, Problem> {
        let mut turns = match self.previous_response_id.as_deref().filter(|id| !id.is_empty()) {
            None => Turns::default(),
            Some(id) => Turns::after(store.turns(owner, id).ok_or_else(|| no_previous(id))?),
        };
        match &self.input {
            Some(Value::String(text)) => turns.say("user", text),
            Some(Value::Array(items)) => {
                let find = |id: &str| store.item(owner, id);
                items.iter().try_for_each(|item| turns.add(item, &find))?;
            }
            None | Some(Value::Null) => return Err(invalid("input", "`input` is missing; ask something.")),
            Some(_) => return Err(invalid("input", "`input` must be a text or a list of items.")),
        }
        let turns = turns.done();
        if turns.is_empty() {
            return Err(invalid("input", "`input` is empty; send at least one item."));
        }
        Ok(turns)
    }

    fn format(&self) -> Result<Option<Format>, Problem> {
        match self.text.as_ref().and_then(|text| text.format.as_ref()) {
            None | Some(TextFormat::Text) => Ok(None),
            Some(TextFormat::JsonObject) => Ok(Some(Format::JsonObject(true))),
            Some(TextFormat::JsonSchema { schema: Some(schema), .. }) => {
                validation::schema("text", schema).map(Some)
            }
            Some(TextFormat::JsonSchema { .. }) => {
                Err(invalid("text", "`text.format` has no `schema`; say which shape the answer has."))
            }
        }
    }

    fn refuse_unsupported(&self) -> Result<(), Problem> {
        let given = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null());
        let unsupported = [
            ("background", "use `stream` instead", self.background == Some(true)),
            ("conversation", "use `previous_response_id` instead", given(&self.conversation)),
            ("prompt", "send `instructions` and `input` instead", given(&self.prompt)),
        ];
        match unsupported.into_iter().find(|(_, _, asked)| *asked) {
            Some((name, instead, _)) => {
                Err(invalid(name, format!("`{name}` is not supported here; {instead}.")))
            }
            None => Ok(()),
        }
    }

    /// The part of a response that says what was asked.
    pub(super) fn told(&self) -> Value {
        let format = match self.text.as_ref().and_then(|text| text.format.as_ref()) {
            None | Some(TextFormat::Text) => json!({"type": "text"}),
            Some(TextFormat::JsonObject) => json!({"type": "json_object"}),
            Some(TextFormat::JsonSchema { name, schema, strict }) => {
                json!({"type": "json_schema", "name": name.as_deref().unwrap_or("answer"), "schema": schema, "strict": strict})
            }
        };
        let mut text = json!({"format": format});
        if let Some(verbosity) = self.text.as_ref().and_then(|text| text.verbosity.as_ref()) {
            text["verbosity"] = verbosity.clone();
        }
        let reasoning = self.reasoning.as_ref();
        let sampling = &self.sampling;
        json!({
            "background": false,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens.map(|Integer(tokens)| tokens),
            "metadata": self.metadata.as_ref().unwrap_or(&json!({})),
            "model": self.model,
            "parallel_tool_calls": self.parallel_tool_calls.unwrap_or(true),
            "previous_response_id": self.previous_response_id,
            "prompt_cache_key": self.prompt_cache_key,
            "reasoning": {
                "effort": reasoning.and_then(|reasoning| reasoning.effort.as_deref()),
                "summary": reasoning.and_then(|reasoning| reasoning.summary.as_ref()),
            },
            "safety_identifier": self.safety_identifier,
            "service_tier": "default",
            "store": self.is_kept(),
            "temperature": sampling.temperature,
            "text": text,
            "tool_choice": self.tool_choice.as_ref().filter(|choice| !choice.is_null()).unwrap_or(&json!("auto")),
            "tools": self.tools.as_deref().unwrap_or_default(),
            "top_logprobs": self.top_logprobs.map_or(0, |Integer(count)| count),
            "top_p": sampling.top_p,
            "truncation": "disabled",
            "user": self.user,
        })
    }
}

/// In OpenAI's words, by which clients know that they have to send the conversation itself.
fn no_previous(id: &str) -> Problem {
    let detail = format!(
        "Previous response with id '{}' not found: responses are kept for a day at most, in memory, and only while \
         they are few. Send the whole conversation.",
        id.chars().take(80).collect::<String>()
    );
    let title = "There is no such response";
    Problem::new(StatusCode::BAD_REQUEST, "previous_response_not_found", title, detail)
        .with("param", "previous_response_id")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &Value) -> Result<Checked, Problem> {
        let mut body = json!({"model": "m", "input": "hi"});
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        let request: ResponseRequest = serde_json::from_value(body).expect("parses");
        assert!(request.told().is_object());
        request.checked(&StoredResponses::default(), "ana")
    }

    #[test]
    fn requests_are_checked_before_a_model_is_touched() {
        let schema = json!({"type": "json_schema", "name": "s", "schema": {"type": "object"}});
        for (more, param) in [
            (json!({}), None),
            // As Codex sends it.
            (
                json!({
                    "instructions": "You are a coding agent.", "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
                    "tools": [{"type": "function", "name": "shell", "description": "", "strict": false, "parameters": {"type": "object"}}, {"type": "local_shell"}, {"type": "web_search"}],
                    "tool_choice": "auto", "parallel_tool_calls": false, "reasoning": {"effort": "medium", "summary": "auto"},
                    "store": false, "stream": true, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "x", "text": {"verbosity": "medium"},
                }),
                None,
            ),
            (json!({"text": {"format": schema}}), None),
            (json!({"text": {"format": {"type": "json_schema", "name": "s"}}}), Some("text")),
            (
                json!({"text": null, "reasoning": null, "tools": null, "metadata": null, "include": null}),
                None,
            ),
            (json!({"max_output_tokens": -1, "truncation": "auto", "temperature": 1.5}), None),
            (json!({"max_output_tokens": 0}), Some("max_output_tokens")),
            (json!({"temperature": 3}), Some("temperature")),
            (json!({"top_logprobs": 21}), Some("top_logprobs")),
            (json!({"input": null}), Some("input")),
            (json!({"input": []}), Some("input")),
            (json!({"input": 3}), Some("input")),
            (json!({"background": true}), Some("background")),
            (json!({"conversation": "c"}), Some("conversation")),
            (json!({"prompt": {"id": "p"}}), Some("prompt")),
            (json!({"previous_response_id": "resp_1"}), Some("previous_response_id")),
            (json!({"tools": [{"type": "function", "name": ""}]}), Some("tools")),
            (json!({"tool_choice": "required"}), Some("tool_choice")),
        ] {
            let refused = read(&more).err().map(|problem| problem.to_json()["param"].clone());
            assert_eq!(refused, param.map(Value::from), "{more}");
        }
    }

    #[test]
    fn what_is_asked_reaches_the_runner() {
        let checked = read(&json!({
            "instructions": "Be brief.", "max_output_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": 3,
            "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "none"},
            "include": [LOGPROBS], "tools": [{"type": "function", "name": "f"}], "tool_choice": "required",
        }));
        let Checked { generation, turns, .. } = checked.expect("accepted");
        assert_eq!((generation.max_tokens, generation.logprobs), (7, Some(0)));
        assert_eq!(generation.format, Some(Format::JsonObject(true)));
        let sampling = generation.sampling.expect("sampling");
        assert_eq!((sampling.temperature, sampling.top_p, sampling.seed), (Some(0.5), Some(0.9), Some(3)));
        let Some(Input::Chat(chat)) = generation.input else { panic!("not a chat") };
        let told: Vec<&str> = chat.messages.iter().map(|turn| turn.content.as_str()).collect();
        assert_eq!(told, ["Be brief.", "hi"]);
        assert_eq!(turns.len(), 1, "instructions are not kept");
        assert_eq!(chat.tool_choice(), wire::ToolChoice::Required);
        assert!(chat.template_arguments.contains("\"enable_thinking\":false"), "{}", chat.template_arguments);
    }
}
