//! Chat requests: what OpenAI's clients may send, and what of it this version can do.

use actionbooster_chassis::Problem;
use actionbooster_wire::runner::v1 as wire;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::query::MOST_PROMPT_BYTES;

const MOST_MESSAGES: usize = 4096;
const MOST_STOPS: usize = 4;

/// Body of `POST /v1/chat/completions`. Unknown fields are ignored, as OpenAI does; known ones that
/// change the answer and cannot be honoured are refused.
#[derive(Deserialize)]
pub(crate) struct ChatRequest {
    pub(super) model: String,
    messages: Vec<ChatMessage>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    seed: Option<i64>,
    stop: Option<Stop>,
    n: Option<u32>,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    functions: Option<Value>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
    logit_bias: Option<Value>,
    response_format: Option<Value>,
    modalities: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    content: Option<Content>,
    tool_calls: Option<Value>,
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
        let sampling = wire::Sampling {
            temperature: within("temperature", self.temperature, 0.0, 2.0)?,
            top_p: within("top_p", self.top_p, 0.0, 1.0)?,
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?,
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0, 2.0)?,
            // Any integer is a seed; the engine takes 32 bits of it.
            seed: self.seed.map(|seed| (seed & 0xffff_ffff) as u32),
            ..wire::Sampling::default()
        };
        let input = Some(wire::generate_request::Input::Chat(wire::Chat { messages: self.conversation()? }));
        Ok(wire::GenerateRequest {
            input,
            sampling: Some(sampling),
            max_tokens: self.limit()?,
            stop: self.stops()?,
            ..wire::GenerateRequest::default()
        })
    }

    fn conversation(&self) -> Result<Vec<wire::ChatMessage>, Problem> {
        let count = self.messages.len();
        if count == 0 {
            return Err(invalid("messages", "`messages` is empty; send at least one message."));
        }
        if count > MOST_MESSAGES {
            return Err(invalid(
                "messages",
                format!("There are {count} messages; at most {MOST_MESSAGES} are read."),
            ));
        }
        let messages = self.messages.iter().map(ChatMessage::checked).collect::<Result<Vec<_>, _>>()?;
        if messages.iter().all(|message| message.content.trim().is_empty()) {
            return Err(invalid("messages", "No message has any text; ask something."));
        }
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        if bytes > MOST_PROMPT_BYTES {
            let detail = format!("The messages have {bytes} bytes; at most {MOST_PROMPT_BYTES} are read.");
            return Err(invalid("messages", detail));
        }
        Ok(messages)
    }

    fn limit(&self) -> Result<u32, Problem> {
        let (name, limit) = match (self.max_completion_tokens, self.max_tokens) {
            (Some(limit), _) => ("max_completion_tokens", limit),
            (None, Some(limit)) => ("max_tokens", limit),
            (None, None) => return Ok(0),
        };
        if limit == 0 { Err(invalid(name, format!("`{name}` must be at least 1."))) } else { Ok(limit) }
    }

    fn stops(&self) -> Result<Vec<String>, Problem> {
        let stops = match &self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop.clone()],
            Some(Stop::Several(stops)) => stops.clone(),
        };
        if stops.len() > MOST_STOPS {
            return Err(invalid("stop", format!("`stop` may name at most {MOST_STOPS} texts.")));
        }
        if stops.iter().any(String::is_empty) {
            return Err(invalid("stop", "`stop` holds an empty text; leave it out."));
        }
        Ok(stops)
    }

    fn refuse_unsupported(&self) -> Result<(), Problem> {
        let holds_something = |value: &Option<Value>| match value {
            None | Some(Value::Null) => false,
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::Object(members)) => !members.is_empty(),
            Some(_) => true,
        };
        let format = self.response_format.as_ref().and_then(|format| format["type"].as_str());
        let choice = self.tool_choice.as_ref().and_then(Value::as_str);
        let sound = self.modalities.as_ref().is_some_and(|kinds| kinds.iter().any(|kind| kind != "text"));
        let calls = self.messages.iter().any(|message| holds_something(&message.tool_calls));
        let unsupported = [
            ("n", "more than one choice", self.n.is_some_and(|n| n != 1)),
            ("tools", "calling tools", holds_something(&self.tools)),
            (
                "tool_choice",
                "calling tools",
                self.tool_choice.is_some() && !matches!(choice, Some("none" | "auto")),
            ),
            ("functions", "calling functions", holds_something(&self.functions)),
            ("messages", "calling tools", calls),
            ("logprobs", "log probabilities", self.logprobs == Some(true)),
            ("top_logprobs", "log probabilities", self.top_logprobs.is_some_and(|count| count > 0)),
            ("logit_bias", "a bias on tokens", holds_something(&self.logit_bias)),
            ("response_format", "another format than text", format.is_some_and(|kind| kind != "text")),
            ("modalities", "anything but text", sound),
        ];
        match unsupported.into_iter().find(|(_, _, asked)| *asked) {
            Some((name, what, _)) => {
                let detail = format!("`{name}`: {what} is not yet supported; leave it out.");
                Err(invalid(name, detail))
            }
            None => Ok(()),
        }
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
        Ok(wire::ChatMessage { role: role.to_owned(), content })
    }
}

fn within(name: &'static str, value: Option<f32>, low: f32, high: f32) -> Result<Option<f32>, Problem> {
    match value {
        Some(number) if !(low..=high).contains(&number) => {
            Err(invalid(name, format!("`{name}` is {number}; it must be between {low} and {high}.")))
        }
        other => Ok(other),
    }
}

fn invalid(param: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_request", "The request is not valid", detail)
        .with("param", param)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (base(",\"tools\":[{}]"), Some("tools")),
            (base(",\"tool_choice\":\"required\""), Some("tool_choice")),
            (base(",\"functions\":[{}]"), Some("functions")),
            (base(",\"logprobs\":true"), Some("logprobs")),
            (base(",\"top_logprobs\":2"), Some("top_logprobs")),
            (base(",\"logit_bias\":{\"1\":5}"), Some("logit_bias")),
            (base(",\"response_format\":{\"type\":\"json_schema\"}"), Some("response_format")),
            (base(",\"modalities\":[\"text\",\"audio\"]"), Some("modalities")),
            (base(",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\"]"), Some("stop")),
            (base(",\"stop\":\"\""), Some("stop")),
            (said(""), Some("messages")),
            (said("{\"role\":\"user\",\"content\":\" \"}"), Some("messages")),
            (said("{\"role\":\"poet\",\"content\":\"x\"}"), Some("messages")),
            (said("{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{}]}"), Some("messages")),
            (said("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}"), Some("messages")),
            (long, Some("messages")),
        ];
        for (text, expected) in cases {
            let shown: String = text.chars().take(120).collect();
            let request: ChatRequest = serde_json::from_str(&text).expect("parses");
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
             \"seed\":4294967297,\"top_p\":0.5}",
        )
        .expect("parses");
        let generation = request.generation().expect("accepted");
        let Some(wire::generate_request::Input::Chat(chat)) = generation.input else { panic!("not a chat") };
        assert_eq!((chat.messages[0].role.as_str(), chat.messages[0].content.as_str()), ("system", "ab"));
        assert_eq!((generation.max_tokens, generation.stop), (7, vec!["x".to_owned()]));
        let sampling = generation.sampling.expect("sampling");
        assert_eq!((sampling.seed, sampling.top_p, sampling.temperature), (Some(1), Some(0.5), None));
    }
}
