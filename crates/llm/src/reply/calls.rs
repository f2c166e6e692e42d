//! How families of models write calls of functions.

use serde_json::{Map, Value};

use crate::chat::ToolCall;

/// The way a family writes its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `<tool_call>{"name", "arguments"}</tool_call>`, as Hermes, Qwen and many others do.
    Tagged,
    /// `DeepSeek`: a section of calls, each a kind, a name and fenced JSON.
    Deepseek,
    /// Kimi and Moonlight: a section of calls, each an id and JSON.
    Kimi,
    /// Mistral: `[TOOL_CALLS]` and a list, or names with `[ARGS]`, to the end.
    Mistral,
    /// Llama 3: the whole answer is `{"name", "parameters"}`.
    Llama,
    /// The whole answer is `{"name", "arguments"}`.
    Bare,
}

const TAG: (&str, &str) = ("<tool_call>", "</tool_call>");
const DEEPSEEK: (&str, &str) = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>");
const DEEPSEEK_CALL: (&str, &str, &str) = ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>");
const KIMI: (&str, &str) = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>");
const KIMI_CALL: (&str, &str, &str) =
    ("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>");
const MISTRAL: &str = "[TOOL_CALLS]";
const MISTRAL_ARGUMENTS: &str = "[ARGS]";
const PYTHON: &str = "<|python_tag|>";

impl Style {
    /// Sees it from the chat template. Templates that know no tools are told to use tags.
    pub(super) fn of(template: &str) -> Self {
        let knows = |mark: &str| template.contains(mark);
        if knows(DEEPSEEK.0) {
            Self::Deepseek
        } else if knows(KIMI.0) {
            Self::Kimi
        } else if knows(MISTRAL) {
            Self::Mistral
        } else if knows(PYTHON) {
            Self::Llama
        } else {
            Self::Tagged
        }
    }

    pub(super) fn marks() -> impl Iterator<Item = &'static str> {
        let pairs = [TAG, DEEPSEEK, KIMI].into_iter().flat_map(|(open, close)| [open, close]);
        let calls =
            [DEEPSEEK_CALL, KIMI_CALL].into_iter().flat_map(|(open, middle, close)| [open, middle, close]);
        pairs.chain(calls).chain([MISTRAL, MISTRAL_ARGUMENTS, PYTHON])
    }

    /// The mark that opens calls in the middle of a text.
    pub(super) const fn open(self) -> Option<&'static str> {
        match self {
            Self::Tagged => Some(TAG.0),
            Self::Deepseek => Some(DEEPSEEK.0),
            Self::Kimi => Some(KIMI.0),
            Self::Mistral => Some(MISTRAL),
            Self::Llama => Some(PYTHON),
            Self::Bare => None,
        }
    }

    /// The mark that closes them; calls without one go on to the end of the answer.
    pub(super) const fn close(self) -> Option<&'static str> {
        match self {
            Self::Tagged => Some(TAG.1),
            Self::Deepseek => Some(DEEPSEEK.1),
            Self::Kimi => Some(KIMI.1),
            Self::Mistral | Self::Llama | Self::Bare => None,
        }
    }

    /// Whether an answer that begins like this is a call without any mark.
    pub(super) fn begins_bare(self, text: &str) -> bool {
        self == Self::Llama && text.starts_with('{')
    }

    /// Whether this end of an answer, after a mark or all of it, is a call that was cut off. `must_call` says that
    /// the answer could be nothing else.
    pub(super) fn is_unfinished(self, body: &str, must_call: bool) -> bool {
        let calls = must_call || self != Self::Bare || begins_with_key(body, &["name", "type", "function"]);
        calls && self.read(body).is_none()
    }

    /// Whether a text that ends here may have gone on with the mark that opens calls.
    pub(super) fn begins_mark(self, text: &str) -> bool {
        let text = text.trim();
        !text.is_empty() && self.open().is_some_and(|open| open.starts_with(text))
    }

    /// The calls of a body without its marks; nothing when it is none.
    pub(super) fn read(self, body: &str) -> Option<Vec<ToolCall>> {
        let calls = match self {
            Self::Tagged if body.trim_start().starts_with("<function=") => tagged_parameters(body),
            Self::Deepseek => each(body, DEEPSEEK_CALL, |kind, rest| match rest.split_once("```") {
                // Older models write a kind and a name before fenced JSON, newer ones a name and bare JSON.
                Some((name, fenced)) => {
                    let json = fenced.trim_start_matches("json").trim_end().trim_end_matches("```");
                    named(name.trim(), json)
                }
                None => named(kind.trim(), rest),
            }),
            Self::Kimi => each(body, KIMI_CALL, |id, json| {
                let name = id.trim().trim_start_matches("functions.");
                named(name.split_once(':').map_or(name, |(name, _)| name), json)
            }),
            Self::Mistral if body.contains(MISTRAL_ARGUMENTS) => {
                let call = |part: &str| {
                    let (name, json) = part.split_once(MISTRAL_ARGUMENTS)?;
                    named(name.trim(), json)
                };
                body.split(MISTRAL).map(call).collect()
            }
            Self::Tagged | Self::Llama | Self::Bare | Self::Mistral => objects(body),
        };
        calls.filter(|calls| !calls.is_empty())
    }
}

/// Whether a text begins like an object whose first key is one of these, as far as it goes.
fn begins_with_key(text: &str, keys: &[&str]) -> bool {
    let Some(rest) = text.trim_start().strip_prefix('{') else { return false };
    let rest = rest.trim_start();
    let begins = |key: &&str| {
        let quoted = format!("\"{key}\"");
        rest.starts_with(&quoted) || quoted.starts_with(rest)
    };
    keys.iter().any(begins)
}

/// Every call between its three marks.
fn each(
    body: &str,
    (open, middle, close): (&str, &str, &str),
    read: impl Fn(&str, &str) -> Option<ToolCall>,
) -> Option<Vec<ToolCall>> {
    let call = |part: &str| {
        let (left, right) = part.split_once(middle)?;
        read(left, right.split_once(close).map_or(right, |(right, _)| right))
    };
    body.split(open).skip(1).map(call).collect()
}

/// One or more objects, or a list of them.
fn objects(body: &str) -> Option<Vec<ToolCall>> {
    let mut calls = Vec::new();
    for value in serde_json::Deserializer::from_str(body).into_iter::<Value>() {
        match value.ok()? {
            Value::Array(all) => {
                for value in &all {
                    calls.push(object(value)?);
                }
            }
            value => calls.push(object(&value)?),
        }
    }
    Some(calls)
}

fn object(value: &Value) -> Option<ToolCall> {
    let value = value.get("function").filter(|inner| inner.is_object()).unwrap_or(value);
    let name = value.get("name")?.as_str()?;
    match value.get("arguments").or_else(|| value.get("parameters")) {
        None | Some(Value::Null) => named(name, "{}"),
        Some(Value::String(text)) => named(name, text),
        Some(arguments) => named(name, &arguments.to_string()),
    }
}

fn named(name: &str, arguments: &str) -> Option<ToolCall> {
    let arguments: Map<String, Value> = serde_json::from_str(arguments.trim()).ok()?;
    let arguments = Value::Object(arguments).to_string();
    (!name.is_empty()).then(|| ToolCall { id: String::new(), name: name.to_owned(), arguments })
}

/// `<function=name><parameter=key>value</parameter>…</function>`, as Qwen's coding models write.
fn tagged_parameters(body: &str) -> Option<Vec<ToolCall>> {
    let call = |part: &str| {
        let (name, rest) = part.split_once('>')?;
        let mut arguments = Map::new();
        for parameter in rest.split("<parameter=").skip(1) {
            let (key, value) = parameter.split_once('>')?;
            let value = value.split_once("</parameter>").map_or(value, |(value, _)| value);
            let value = value.strip_prefix('\n').unwrap_or(value);
            let value = value.strip_suffix('\n').unwrap_or(value);
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            arguments.insert(key.to_owned(), value);
        }
        named(name.trim(), &Value::Object(arguments).to_string())
    };
    body.split("<function=").skip(1).map(call).collect()
}
