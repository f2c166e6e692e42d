//! Messages of Anthropic's clients and the blocks that they consist of, as turns.

use actionbooster_chassis::Problem;
use actionbooster_wire::runner::v1 as wire;
use serde::Deserialize;
use serde_json::Value;

use crate::api::lenient::nullable;
use crate::api::validation::{self, invalid};

#[derive(Deserialize)]
pub(super) struct Message {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block {
    Text {
        text: String,
    },
    Thinking {
        thinking: String,
    },
    /// What only Anthropic's servers can read.
    RedactedThinking,
    ToolUse {
        #[serde(default, deserialize_with = "nullable")]
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
    },
    ToolResult {
        tool_use_id: String,
        content: Option<Content>,
        #[serde(default, deserialize_with = "nullable")]
        is_error: bool,
    },
    Image,
    SearchResult {
        #[serde(default, deserialize_with = "nullable")]
        title: String,
        #[serde(default, deserialize_with = "nullable")]
        source: String,
        content: Content,
    },
    Document {
        title: Option<String>,
        context: Option<String>,
        source: Source,
    },
    /// A tool that a search among tools has found; it is among `tools`.
    ToolReference {
        tool_name: String,
    },
    #[serde(other)]
    Other,
}

/// Where a document is.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source {
    Text {
        data: String,
    },
    Content {
        content: Content,
    },
    #[serde(other)]
    File,
}

impl Message {
    /// Adds the turns that this message is for a template: results of tools are turns of their own.
    pub(super) fn turns(&self, turns: &mut Vec<wire::ChatMessage>) -> Result<(), Problem> {
        let role = match self.role.as_str() {
            role @ ("user" | "assistant" | "system") => role,
            other => {
                let detail = format!("There is no role {other:?}; there are user, assistant and system.");
                return Err(invalid("messages", detail));
            }
        };
        let blocks = match &self.content {
            Content::Text(text) => {
                turns.push(validation::turn(role, text));
                return Ok(());
            }
            Content::Blocks(blocks) => blocks,
        };
        let mut turn = validation::turn(role, "");
        for block in blocks {
            match block {
                Block::Thinking { thinking } => turn.reasoning.push_str(thinking),
                Block::RedactedThinking => {}
                Block::ToolUse { id, name, input } => {
                    let arguments = validation::arguments(input);
                    turn.tool_calls.push(wire::ToolCall { id: id.clone(), name: name.clone(), arguments });
                }
                Block::ToolResult { tool_use_id, content, is_error } => {
                    let text = content
                        .as_ref()
                        .map_or_else(|| Ok(String::new()), |content| content.text("messages"))?;
                    let text = if *is_error { format!("Error: {text}") } else { text };
                    turns.push(wire::ChatMessage {
                        tool_call_id: tool_use_id.clone(),
                        ..validation::turn("tool", text)
                    });
                }
                told => turn.content.push_str(&told.text("messages")?),
            }
        }
        if !turn.content.is_empty() || !turn.tool_calls.is_empty() {
            turns.push(turn);
        }
        Ok(())
    }
}

impl Content {
    pub(super) fn text(&self, param: &'static str) -> Result<String, Problem> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Blocks(blocks) => blocks.iter().map(|block| block.text(param)).collect(),
        }
    }
}

impl Block {
    /// What of it can be read as text.
    fn text(&self, param: &'static str) -> Result<String, Problem> {
        match self {
            Self::Text { text } => Ok(text.clone()),
            Self::SearchResult { title, source, content } => {
                Ok(format!("{title}\n{source}\n{}\n", content.text(param)?))
            }
            Self::Document { title, context, source } => {
                let text = match source {
                    Source::Text { data } => data.clone(),
                    Source::Content { content } => content.text(param)?,
                    Source::File => {
                        let detail = "Documents are read as text only; send the text of the file.";
                        return Err(invalid(param, detail));
                    }
                };
                let told =
                    [title.as_deref().unwrap_or_default(), context.as_deref().unwrap_or_default(), &text];
                let told: Vec<&str> = told.into_iter().filter(|text| !text.is_empty()).collect();
                Ok(told.join("\n") + "\n")
            }
            Self::ToolReference { tool_name } => Ok(format!("{tool_name}\n")),
            Self::Image => Err(invalid(param, "Pictures are not read yet; only text is. Leave them out.")),
            _ => Err(invalid(
                param,
                "Only text, thinking, tool_use and tool_result are read, search results and documents of text.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_of_tools_are_read_as_far_as_they_are_text() {
        let text = json!({"type": "text", "text": "x"});
        let picture =
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}});
        let found = json!({"type": "search_result", "title": "T", "source": "S", "content": [text]});
        let document =
            |source: &Value| json!({"type": "document", "title": "T", "context": null, "source": source});
        let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "AA=="});
        for (content, expected) in [
            (json!([text, text]), Ok("xx")),
            (json!([text, {"type": "tool_reference", "tool_name": "f"}]), Ok("xf\n")),
            (json!([found]), Ok("T\nS\nx\n")),
            (
                json!([document(&json!({"type": "text", "media_type": "text/plain", "data": "d"}))]),
                Ok("T\nd\n"),
            ),
            (json!([document(&json!({"type": "content", "content": "d"}))]), Ok("T\nd\n")),
            (json!([document(&pdf)]), Err("Documents are read as text only")),
            (json!([text, picture]), Err("Pictures are not read yet")),
            (json!([{"type": "thinking", "thinking": "x"}]), Err("Only text")),
        ] {
            let result = json!({"type": "tool_result", "tool_use_id": "t", "content": content});
            let message: Message =
                serde_json::from_value(json!({"role": "user", "content": [result]})).expect("parses");
            let mut turns = Vec::new();
            match (message.turns(&mut turns), expected) {
                (Ok(()), Ok(text)) => {
                    assert_eq!((turns[0].role.as_str(), turns[0].content.as_str()), ("tool", text));
                }
                (Err(problem), Err(told)) => assert!(problem.detail().contains(told), "{}", problem.detail()),
                (got, _) => panic!("{content}: {got:?}"),
            }
        }
    }
}
