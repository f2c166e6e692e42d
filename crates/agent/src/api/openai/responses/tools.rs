//! Tools of responses: what a model is shown of them, and what its calls are called.

use actionbooster_chassis::Problem;
use actionbooster_wire::runner::v1 as wire;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::api::validation::{self, invalid};

/// The only argument of a tool that is called with a text.
const INPUT: &str = "input";

/// A tool that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tool {
    /// Its name, as the client knows it.
    pub(super) name: String,
    /// The client's name for the tools it is one of.
    pub(super) namespace: Option<String>,
    /// Whether it is called with a text instead of an object.
    pub(super) custom: bool,
    /// The tool in the runner's form.
    shown: Value,
}

/// The tools of one request, and which of them the model has to call.
#[derive(Debug, Clone, Default)]
pub(super) struct Tools {
    all: Vec<Tool>,
    choice: wire::ToolChoice,
    /// The only tool it may call; empty means any.
    required: String,
}

/// A tool as clients send it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Given {
    Function {
        name: String,
        description: Option<String>,
        parameters: Option<Value>,
    },
    Custom {
        name: String,
        description: Option<String>,
        format: Option<TextFormat>,
    },
    /// Tools of one server.
    Namespace {
        name: String,
        tools: Vec<Value>,
    },
    /// What OpenAI's own servers run, such as a search of the web, or what only its models were taught.
    #[serde(other)]
    Hosted,
}

/// What the text that a tool is called with looks like.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum TextFormat {
    Grammar {
        syntax: String,
        definition: String,
    },
    #[serde(other)]
    Any,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Choice {
    Word(String),
    Kind {
        #[serde(rename = "type")]
        kind: String,
        name: Option<String>,
        mode: Option<String>,
        tools: Option<Vec<Named>>,
    },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

impl Tools {
    /// Tools that cannot be run here are left out: agents send them to every server, and work without them.
    pub(super) fn read(given: &[Value], choice: Option<&Value>) -> Result<Self, Problem> {
        let mut all = Vec::with_capacity(given.len());
        for tool in given {
            add(&mut all, tool, None)?;
        }
        let mut tools = Self { all, ..Self::default() };
        if let Some(choice) = choice.filter(|choice| !choice.is_null()) {
            let choice =
                Choice::deserialize(choice).map_err(|error| invalid("tool_choice", error.to_string()))?;
            tools.choose(choice)?;
        }
        Ok(tools)
    }

    fn choose(&mut self, choice: Choice) -> Result<(), Problem> {
        match choice {
            Choice::Word(word) => self.choose_by_word(&word),
            Choice::Kind { kind, mode, tools, .. } if kind == "allowed_tools" => {
                let allowed: Vec<Named> = tools.unwrap_or_default();
                self.all.retain(|tool| {
                    allowed.iter().any(|allowed| allowed.name.as_deref() == Some(tool.name.as_str()))
                });
                self.choose_by_word(mode.as_deref().unwrap_or("auto"))
            }
            Choice::Kind { kind, name: Some(name), .. }
                if ["function", "custom"].contains(&kind.as_str()) =>
            {
                let known = self.all.iter().find(|tool| tool.name == name);
                let tool = known.ok_or_else(|| {
                    invalid("tool_choice", format!("There is no tool {name:?} among `tools`."))
                })?;
                self.required = tool.shown_name();
                self.choice = wire::ToolChoice::Required;
                Ok(())
            }
            Choice::Kind { kind, .. } => {
                let detail = format!("`tool_choice` wants {kind:?}, which cannot be run here.");
                Err(invalid("tool_choice", detail))
            }
            Choice::Other(_) => {
                Err(invalid("tool_choice", "`tool_choice` must be none, auto, required or a tool."))
            }
        }
    }

    fn choose_by_word(&mut self, word: &str) -> Result<(), Problem> {
        self.choice = match word {
            "auto" => wire::ToolChoice::Auto,
            "none" => wire::ToolChoice::None,
            "required" if self.all.is_empty() => {
                let detail = "`tool_choice` wants a call, and there are no `tools` that can be called here.";
                return Err(invalid("tool_choice", detail));
            }
            "required" => wire::ToolChoice::Required,
            other => {
                let detail =
                    format!("`tool_choice` is {other:?}; it must be none, auto, required or a tool.");
                return Err(invalid("tool_choice", detail));
            }
        };
        Ok(())
    }

    /// Puts them into a conversation.
    pub(super) fn show(&self, chat: &mut wire::Chat) -> Result<(), Problem> {
        let shown: Vec<Value> = self.all.iter().map(|tool| tool.shown.clone()).collect();
        chat.tools = validation::tools(&shown)?;
        chat.tool_choice = self.choice.into();
        chat.tool_name.clone_from(&self.required);
        Ok(())
    }

    /// The tool that a model means by this name.
    pub(super) fn called(&self, shown: &str) -> Option<&Tool> {
        self.all.iter().find(|tool| tool.shown["function"]["name"] == shown)
    }
}

impl Tool {
    fn shown_name(&self) -> String {
        shown_name(self.namespace.as_deref(), &self.name)
    }

    /// The text of a call of a tool that takes one.
    pub(super) fn text(arguments: &str) -> String {
        match serde_json::from_str::<Value>(arguments) {
            Ok(Value::Object(mut members)) => match members.remove(INPUT) {
                Some(Value::String(text)) => text,
                _ => arguments.to_owned(),
            },
            _ => arguments.to_owned(),
        }
    }

    /// The arguments of such a call, as the model made them.
    pub(super) fn arguments(text: &str) -> String {
        json!({INPUT: text}).to_string()
    }
}

/// The one name that a model knows a tool by.
pub(super) fn shown_name(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        None | Some("") => name.to_owned(),
        Some(namespace) if namespace.ends_with("__") => format!("{namespace}{name}"),
        Some(namespace) => format!("{namespace}__{name}"),
    }
}

fn add(tools: &mut Vec<Tool>, given: &Value, namespace: Option<&str>) -> Result<(), Problem> {
    let given = Given::deserialize(given)
        .map_err(|error| invalid("tools", format!("A tool cannot be read: {error}.")))?;
    let (name, description, parameters, custom) = match given {
        Given::Function { name, description, parameters } => (name, description, parameters, false),
        Given::Custom { name, description, format } => {
            let told = [description.unwrap_or_default(), format.map_or_else(String::new, TextFormat::told)];
            let parameters =
                json!({"type": "object", "properties": {INPUT: {"type": "string"}}, "required": [INPUT]});
            (name, Some(told.join("\n").trim().to_owned()), Some(parameters), true)
        }
        Given::Namespace { name, tools: inner } if namespace.is_none() => {
            return inner.iter().try_for_each(|tool| add(tools, tool, Some(&name)));
        }
        Given::Namespace { .. } | Given::Hosted => return Ok(()),
    };
    let shown = validation::tool(
        &shown_name(namespace, &name),
        description.as_deref().unwrap_or_default(),
        parameters.as_ref(),
    )?;
    tools.push(Tool { name, namespace: namespace.map(ToOwned::to_owned), custom, shown });
    Ok(())
}

impl TextFormat {
    fn told(self) -> String {
        match self {
            Self::Grammar { syntax, definition } => {
                format!("`{INPUT}` fits this grammar ({syntax}):\n{definition}")
            }
            Self::Any => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tools: &Value, choice: &Value) -> Result<Tools, Problem> {
        Tools::read(tools.as_array().expect("a list"), Some(choice))
    }

    fn shown(tools: &Tools) -> wire::Chat {
        let mut chat = wire::Chat::default();
        tools.show(&mut chat).expect("shown");
        chat
    }

    #[test]
    fn what_agents_send_is_shown_as_functions_and_what_only_openai_runs_is_left_out() {
        let given = json!([
            {"type": "function", "name": "f", "strict": false, "parameters": {"type": "object"}},
            {"type": "custom", "name": "apply_patch", "description": "Edits.",
             "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}},
            {"type": "namespace", "name": "mcp__files", "description": "", "tools": [
                {"type": "function", "name": "read"}, {"type": "custom", "name": "write"}]},
            {"type": "web_search", "external_web_access": false},
            {"type": "local_shell"},
            {"type": "image_generation", "output_format": "png"},
        ]);
        let tools = read(&given, &json!("auto")).expect("read");
        let chat: Vec<Value> = serde_json::from_str(&shown(&tools).tools).expect("JSON");
        let names: Vec<&Value> = chat.iter().map(|tool| &tool["function"]["name"]).collect();
        assert_eq!(names, ["f", "apply_patch", "mcp__files__read", "mcp__files__write"]);
        let patch = &chat[1]["function"];
        assert_eq!(patch["parameters"]["required"], json!(["input"]));
        let told = patch["description"].as_str().expect("text");
        assert!(told.starts_with("Edits.") && told.ends_with("start: x"), "{told}");
        let called = tools.called("mcp__files__write").expect("known");
        assert_eq!(
            (called.name.as_str(), called.namespace.as_deref(), called.custom),
            ("write", Some("mcp__files"), true)
        );
        assert_eq!(Tool::text(&Tool::arguments("a\n\"b\"")), "a\n\"b\"");
        assert_eq!(Tool::text("no object"), "no object");
    }

    #[test]
    fn a_choice_names_a_tool_that_is_there() {
        let tools = json!([{"type": "function", "name": "f"}, {"type": "namespace", "name": "n__", "tools": [{"type": "custom", "name": "g"}]}]);
        for (choice, expected) in [
            (json!(null), Ok((wire::ToolChoice::Auto, "", 2))),
            (json!("none"), Ok((wire::ToolChoice::None, "", 2))),
            (json!("required"), Ok((wire::ToolChoice::Required, "", 2))),
            (json!({"type": "function", "name": "f"}), Ok((wire::ToolChoice::Required, "f", 2))),
            (json!({"type": "custom", "name": "g"}), Ok((wire::ToolChoice::Required, "n__g", 2))),
            (
                json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}),
                Ok((wire::ToolChoice::Required, "", 1)),
            ),
            (
                json!({"type": "allowed_tools", "mode": "auto", "tools": []}),
                Ok((wire::ToolChoice::Auto, "", 0)),
            ),
            (json!({"type": "allowed_tools", "mode": "required", "tools": []}), Err("no `tools`")),
            (json!({"type": "function", "name": "h"}), Err("no tool \"h\"")),
            (json!({"type": "web_search_preview"}), Err("cannot be run here")),
            (json!("perhaps"), Err("\"perhaps\"")),
            (json!(3), Err("must be none")),
        ] {
            match (read(&tools, &choice), expected) {
                (Ok(read), Ok((wanted, name, count))) => {
                    let chat = shown(&read);
                    assert_eq!(
                        (chat.tool_choice(), chat.tool_name.as_str(), read.all.len()),
                        (wanted, name, count),
                        "{choice}"
                    );
                }
                (Err(problem), Err(told)) => {
                    assert!(problem.detail().contains(told), "{choice}: {}", problem.detail());
                }
                (got, _) => panic!("{choice}: {got:?}"),
            }
        }
        assert!(read(&json!([{"type": "web_search"}]), &json!("required")).is_err());
        assert!(read(&json!([{"type": "function"}]), &json!("auto")).is_err());
        assert!(read(&json!([{"type": "function", "name": "a b"}]), &json!("auto")).is_err());
    }
}
