//! Items of a conversation, as turns that chat templates know.

use actionbooster_chassis::Problem;
use actionbooster_wire::runner::v1 as wire;
use serde::Deserialize;
use serde_json::{Value, json};

use super::tools::{Tool, shown_name};
use crate::api::lenient::nullable;
use crate::api::validation::{self, invalid};

/// An item as clients send it, and as they got it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    Message {
        role: String,
        content: Option<Content>,
    },
    Reasoning {
        #[serde(default, deserialize_with = "nullable")]
        content: Vec<Part>,
        #[serde(default, deserialize_with = "nullable")]
        summary: Vec<Part>,
    },
    FunctionCall {
        #[serde(default, deserialize_with = "nullable")]
        call_id: String,
        name: String,
        namespace: Option<String>,
        #[serde(default)]
        arguments: Value,
    },
    #[serde(alias = "custom_tool_call_output")]
    FunctionCallOutput {
        #[serde(default, deserialize_with = "nullable")]
        call_id: String,
        output: Option<Content>,
    },
    CustomToolCall {
        #[serde(default, deserialize_with = "nullable")]
        call_id: String,
        name: String,
        namespace: Option<String>,
        #[serde(default, deserialize_with = "nullable")]
        input: String,
    },
    #[serde(rename = "item_reference")]
    Reference {
        id: String,
    },
    /// A conversation that only OpenAI's servers can read.
    #[serde(alias = "compaction_summary")]
    Compaction,
    /// What OpenAI's servers did in between, and remarks about it.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
    /// Results that a client did not write as a text.
    Other(Value),
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

/// Turns that are put together from items: what a model thought, said and called is one turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turns: Vec<wire::ChatMessage>,
    /// Whether the last one is the model's and may get more.
    open: bool,
}

impl Turns {
    /// Goes on after these.
    pub(super) const fn after(turns: Vec<wire::ChatMessage>) -> Self {
        Self { turns, open: false }
    }

    pub(super) fn done(self) -> Vec<wire::ChatMessage> {
        self.turns
    }

    pub(super) fn say(&mut self, role: &str, text: &str) {
        self.open = false;
        self.turns.push(validation::turn(role, text));
    }

    /// Adds an item; `find` knows those that are named instead of sent.
    pub(super) fn add(&mut self, item: &Value, find: &dyn Fn(&str) -> Option<Value>) -> Result<(), Problem> {
        match read(item)? {
            Item::Message { role, content } => self.message(&role, content)?,
            Item::Reasoning { content, summary } => {
                let told = if content.is_empty() { summary } else { content };
                let thoughts = text("input", Some(Content::Parts(told)))?;
                if !thoughts.is_empty() {
                    self.model(|turn| turn.content.is_empty() && turn.tool_calls.is_empty());
                    self.last().reasoning.push_str(&thoughts);
                }
            }
            Item::FunctionCall { call_id, name, namespace, arguments } => {
                self.call(
                    call_id,
                    shown_name(namespace.as_deref(), &name),
                    validation::arguments(&arguments),
                );
            }
            Item::CustomToolCall { call_id, name, namespace, input } => {
                self.call(call_id, shown_name(namespace.as_deref(), &name), Tool::arguments(&input));
            }
            Item::FunctionCallOutput { call_id, output } => {
                self.open = false;
                let content = text("input", output)?;
                self.turns
                    .push(wire::ChatMessage { tool_call_id: call_id, ..validation::turn("tool", content) });
            }
            Item::Reference { id } => {
                let found = find(&id).ok_or_else(|| {
                    let detail = format!("There is no item {id:?} here any more; send it instead of its id.");
                    invalid("input", detail)
                })?;
                return self.add(&found, &|_| None);
            }
            Item::Compaction => {
                let detail = "Only OpenAI can read what it made short; send the conversation itself.";
                return Err(invalid("input", detail));
            }
            Item::Other => {}
        }
        Ok(())
    }

    fn message(&mut self, role: &str, content: Option<Content>) -> Result<(), Problem> {
        let content = text("input", content)?;
        let role = match role {
            "developer" => "system",
            role @ ("system" | "user") => role,
            "assistant" => {
                self.model(|turn| turn.content.is_empty() && turn.tool_calls.is_empty());
                self.last().content.push_str(&content);
                return Ok(());
            }
            other => {
                let detail =
                    format!("There is no role {other:?}; there are system, developer, user and assistant.");
                return Err(invalid("input", detail));
            }
        };
        self.say(role, &content);
        Ok(())
    }

    fn call(&mut self, id: String, name: String, arguments: String) {
        self.model(|_| true);
        self.last().tool_calls.push(wire::ToolCall { id, name, arguments });
    }

    /// Makes the last turn one of the model, which may get more.
    fn model(&mut self, may_get_more: impl Fn(&wire::ChatMessage) -> bool) {
        if !self.open || !self.turns.last().is_some_and(may_get_more) {
            self.turns.push(validation::turn("assistant", ""));
            self.open = true;
        }
    }

    fn last(&mut self) -> &mut wire::ChatMessage {
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }
}

/// The turns with the instructions before them. What clients tell the model before anybody speaks is one turn,
/// because many templates know no second one.
pub(super) fn with_instructions(instructions: &str, turns: Vec<wire::ChatMessage>) -> Vec<wire::ChatMessage> {
    let before = turns.iter().take_while(|turn| turn.role == "system").count();
    let told = [instructions].into_iter().chain(turns[..before].iter().map(|turn| turn.content.as_str()));
    let told: Vec<&str> = told.filter(|text| !text.is_empty()).collect();
    let system = (!told.is_empty()).then(|| validation::turn("system", told.join("\n\n")));
    system.into_iter().chain(turns.into_iter().skip(before)).collect()
}

fn read(item: &Value) -> Result<Item, Problem> {
    let failed = |error: serde_json::Error| invalid("input", format!("An item cannot be read: {error}."));
    match item {
        // The short forms of a message, and of the id of an item.
        Value::Object(members) if members.get("type").is_none_or(Value::is_null) => {
            let named = members.contains_key("id") && !members.contains_key("role");
            let mut members = members.clone();
            members.insert("type".into(), json!(if named { "item_reference" } else { "message" }));
            Item::deserialize(Value::from(members)).map_err(failed)
        }
        item => Item::deserialize(item).map_err(failed),
    }
}

fn text(param: &'static str, content: Option<Content>) -> Result<String, Problem> {
    match content {
        None | Some(Content::Other(Value::Null)) => Ok(String::new()),
        Some(Content::Text(text)) => Ok(text),
        Some(Content::Other(value)) => Ok(value.to_string()),
        Some(Content::Parts(parts)) => parts.into_iter().map(|part| part.text(param)).collect(),
    }
}

impl Part {
    fn text(self, param: &'static str) -> Result<String, Problem> {
        match self.kind.as_str() {
            "input_text" | "output_text" | "text" | "reasoning_text" | "summary_text" => Ok(self.text),
            "refusal" => Ok(self.refusal),
            "input_image" | "computer_screenshot" => {
                Err(invalid(param, "Pictures are not read yet; only text is. Leave the `input_image` out."))
            }
            other => Err(invalid(param, format!("Content of type {other:?} is not read; only text is."))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(items: &Value) -> Result<Vec<wire::ChatMessage>, Problem> {
        let mut turns = Turns::default();
        let find = |id: &str| {
            (id == "msg_1").then(|| json!({"type": "message", "role": "assistant", "content": "kept"}))
        };
        items.as_array().expect("a list").iter().try_for_each(|item| turns.add(item, &find))?;
        Ok(turns.done())
    }

    #[test]
    fn what_a_model_thought_said_and_called_is_one_turn() {
        let items = json!([
            {"role": "user", "content": "hi"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": null,
             "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "wait"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "g", "namespace": "n", "input": "x"},
            {"type": "function_call_output", "call_id": "c1", "output": "42"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "43"}]},
            {"type": "web_search_call", "id": "ws", "status": "completed"},
            {"type": "item_reference", "id": "msg_1"},
            {"type": "message", "role": "assistant", "content": "and more", "phase": "final"},
        ]);
        let turns = turns(&items).expect("read");
        let told: Vec<(&str, &str)> =
            turns.iter().map(|turn| (turn.role.as_str(), turn.content.as_str())).collect();
        assert_eq!(
            told,
            [
                ("user", "hi"),
                ("assistant", "wait"),
                ("tool", "42"),
                ("tool", "43"),
                ("assistant", "kept"),
                ("assistant", "and more")
            ]
        );
        assert_eq!(turns[1].reasoning, "hm");
        let calls: Vec<(&str, &str)> =
            turns[1].tool_calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
        assert_eq!(calls, [("f", "{\"a\":1}"), ("n__g", "{\"input\":\"x\"}")]);
        assert_eq!((turns[2].tool_call_id.as_str(), turns[3].tool_call_id.as_str()), ("c1", "c2"));
    }

    #[test]
    fn items_of_every_kind_are_read_or_refused_for_a_reason() {
        for (item, expected) in [
            (json!({"role": "user", "content": null}), Ok("")),
            (
                json!({"role": "developer", "content": [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]}),
                Ok("ab"),
            ),
            (
                json!({"type": "function_call_output", "call_id": null, "output": {"ok": true}}),
                Ok("{\"ok\":true}"),
            ),
            (json!({"type": "reasoning", "summary": [], "encrypted_content": "x"}), Ok("nothing")),
            (
                json!({"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}),
                Err("Pictures are not read"),
            ),
            (
                json!({"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}),
                Err("\"input_file\""),
            ),
            (
                json!({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image"}]}),
                Err("Pictures"),
            ),
            (json!({"role": "poet", "content": "x"}), Err("no role \"poet\"")),
            (json!({"type": "item_reference", "id": "msg_2"}), Err("no item \"msg_2\"")),
            (json!({"id": "msg_1"}), Ok("kept")),
            (json!({"type": "compaction", "encrypted_content": "x"}), Err("Only OpenAI")),
            (json!({"type": "function_call"}), Err("missing field `name`")),
            (json!(3), Err("cannot be read")),
        ] {
            match (turns(&json!([item])), expected) {
                (Ok(turns), Ok(text)) => {
                    assert_eq!(turns.first().map_or("nothing", |turn| turn.content.as_str()), text, "{item}");
                }
                (Err(problem), Err(told)) => {
                    assert!(problem.detail().contains(told), "{item}: {}", problem.detail());
                    assert_eq!(problem.to_json()["param"], "input");
                }
                (got, _) => panic!("{item}: {got:?}"),
            }
        }
    }

    #[test]
    fn everything_told_before_anybody_speaks_is_one_turn() {
        let given = turns(&json!([{"role": "developer", "content": "b"}, {"role": "system", "content": "c"}, {"role": "user", "content": "hi"}, {"role": "system", "content": "d"}])).expect("read");
        let told: Vec<String> = with_instructions("a", given).into_iter().map(|turn| turn.content).collect();
        assert_eq!(told, ["a\n\nb\n\nc", "hi", "d"]);
        assert_eq!(with_instructions("", vec![validation::turn("user", "hi")]).len(), 1);
    }
}
