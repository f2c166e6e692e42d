//! A conversation as a chat template sees it, with the tools the model may call.

use serde_json::{Map, Value, json};

use crate::{Error, Format};

/// Turns of a conversation and what the model may do about them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// The turns, oldest first.
    pub messages: Vec<Message>,
    /// Functions the model may call: `{"type": "function", "function": {"name", "description", "parameters"}}`,
    /// where `parameters` is a JSON Schema.
    pub tools: Vec<Value>,
    /// Whether it may, must or must not call one.
    pub choice: ToolChoice,
    /// More variables for the template, such as `enable_thinking`.
    pub arguments: Map<String, Value>,
    /// The answer is told as it is: reasoning and calls are not taken out of it.
    pub raw: bool,
}

/// One turn of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Text of the turn.
    pub content: String,
    /// What the model thought before it, for templates that show it again.
    pub reasoning: String,
    /// Functions the model called in this turn.
    pub calls: Vec<ToolCall>,
    /// The call that a `tool` turn answers.
    pub call_id: String,
    /// Name of the speaker, or of the function that a `tool` turn answers for.
    pub name: String,
}

/// A function the model calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// Tells this call from others; empty in answers, where whoever passes them on chooses it.
    pub id: String,
    /// Name of the function.
    pub name: String,
    /// A JSON object as text.
    pub arguments: String,
}

/// Whether the model calls functions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// Never: the tools are not shown to it.
    Never,
    /// It must call one of them.
    Required,
    /// It must call the one of this name.
    Named(String),
}

impl Message {
    /// A turn of text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), ..Self::default() }
    }
}

impl Conversation {
    /// Turns of text, no tools.
    pub fn new(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// Puts a system turn first, unless the conversation has one of its own.
    pub fn begin_with(&mut self, system: &str) {
        if !self.messages.iter().any(|message| message.role == "system") {
            self.messages.insert(0, Message::new("system", system));
        }
    }

    /// The last turn where the model has begun it: its answer goes on from there.
    pub(crate) fn begun_turn(&self) -> Option<&Message> {
        let last = self.messages.last()?;
        let begun = last.role == "assistant" && last.calls.is_empty() && !last.content.trim().is_empty();
        (begun && !self.must_call()).then_some(last)
    }

    /// The same without its last turn.
    pub(crate) fn without_last(&self) -> Self {
        let mut shorter = self.clone();
        shorter.messages.pop();
        shorter
    }

    /// The tools that the model is shown.
    pub(crate) fn shown_tools(&self) -> &[Value] {
        if self.choice == ToolChoice::Never { &[] } else { &self.tools }
    }

    /// Whether the answer has to be a call.
    pub(crate) const fn must_call(&self) -> bool {
        matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    /// The shape of an answer that has to be a call: `{"name": …, "arguments": …}` of one of the tools.
    ///
    /// Nothing when the model may also say something else.
    pub fn forced_format(&self) -> Result<Option<Format>, Error> {
        if !self.must_call() {
            return Ok(None);
        }
        let wanted = |name: &str| match &self.choice {
            ToolChoice::Named(named) => named == name,
            _ => true,
        };
        let mut shapes = Vec::new();
        for tool in &self.tools {
            let function = &tool["function"];
            let Some(name) = function["name"].as_str() else {
                return Err(Error::Format("a tool has no name".to_owned()));
            };
            if !wanted(name) {
                continue;
            }
            let parameters = match &function["parameters"] {
                Value::Null => json!({"type": "object"}),
                schema => schema.clone(),
            };
            shapes.push(json!({
                "type": "object",
                "properties": {"name": {"const": name}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": false,
            }));
        }
        match (shapes.len(), &self.choice) {
            (0, ToolChoice::Named(name)) => {
                Err(Error::Format(format!("the tool {name} has to be called and is not among the tools")))
            }
            (0, _) => Err(Error::Format("a tool has to be called and there are none".to_owned())),
            (1, _) => Ok(shapes.pop().map(|shape| Format::JsonSchema(shape.to_string()))),
            _ => Ok(Some(Format::JsonSchema(json!({"anyOf": shapes}).to_string()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_without_a_system_turn_gets_the_owners() {
        let roles = |conversation: &Conversation| {
            conversation.messages.iter().map(|message| message.content.clone()).collect::<Vec<_>>()
        };
        let mut plain = Conversation::new(vec![Message::new("user", "hi")]);
        plain.begin_with("Be brief.");
        assert_eq!(roles(&plain), ["Be brief.", "hi"]);
        plain.begin_with("Be long.");
        assert_eq!(roles(&plain), ["Be brief.", "hi"]);
    }

    #[test]
    fn an_answer_that_must_be_a_call_has_the_shape_of_one() {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        let with = |choice: ToolChoice, tools: &[&str]| {
            let tools = tools.iter().map(|name| tool(name)).collect();
            Conversation { tools, choice, ..Conversation::default() }.forced_format()
        };
        let names = |format: Result<Option<Format>, Error>| match format.expect("possible") {
            Some(Format::JsonSchema(schema)) => schema.matches("\"const\"").count(),
            other => panic!("{other:?}"),
        };
        assert_eq!(with(ToolChoice::Auto, &["a"]), Ok(None));
        assert_eq!(with(ToolChoice::Never, &["a"]), Ok(None));
        assert_eq!(names(with(ToolChoice::Required, &["a", "b"])), 2);
        assert_eq!(names(with(ToolChoice::Named("b".into()), &["a", "b"])), 1);
        let unknown = with(ToolChoice::Named("c".into()), &["a"]).expect_err("refused").to_string();
        assert!(unknown.contains("the tool c"), "{unknown}");
        assert!(with(ToolChoice::Required, &[]).is_err());
    }
}
