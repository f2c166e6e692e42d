//! Validation of what clients ask of models, shared by all APIs.

use std::time::Duration;

use actionbooster_chassis::Problem;
use actionbooster_scheduler::KeepAlive;
use actionbooster_wire::runner::v1 as wire;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::lenient::Integer;
use crate::query::MOST_PROMPT_BYTES;

const MOST_MESSAGES: usize = 4096;
const MOST_STOPS: usize = 16;
const MOST_TOOLS: usize = 128;
/// Letters of a tool's name; Anthropic's own limit, which names that agents put together need.
const MOST_NAME: usize = 128;

/// A refusal that names the field.
pub(crate) fn invalid(param: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_request", "The request is not valid", detail)
        .with("param", param)
}

/// The number, if it is within its bounds.
pub(crate) fn within(
    name: &'static str,
    value: Option<f32>,
    low: f32,
    high: f32,
) -> Result<Option<f32>, Problem> {
    match value {
        Some(number) if !(low..=high).contains(&number) => {
            Err(invalid(name, format!("`{name}` is {number}; it must be between {low} and {high}.")))
        }
        other => Ok(other),
    }
}

/// The number as a count, if it is within its bounds.
pub(crate) fn count(
    name: &'static str,
    value: Option<Integer>,
    low: u32,
    high: u32,
) -> Result<Option<u32>, Problem> {
    let Some(Integer(number)) = value else { return Ok(None) };
    let within = u32::try_from(number).ok().filter(|number| (low..=high).contains(number));
    within
        .map(Some)
        .ok_or_else(|| invalid(name, format!("`{name}` is {number}; it must be between {low} and {high}.")))
}

/// Tokens of an answer at most; 0, the runner's word for no limit, for -1, as other servers read it.
pub(crate) fn token_limit(name: &'static str, value: Option<Integer>) -> Result<Option<u32>, Problem> {
    match value {
        None => Ok(None),
        Some(Integer(-1)) => Ok(Some(0)),
        Some(Integer(number)) if number >= 1 => Ok(Some(u32::try_from(number).unwrap_or(u32::MAX))),
        Some(Integer(number)) => {
            Err(invalid(name, format!("`{name}` is {number}; it must be at least 1, or -1 for no limit.")))
        }
    }
}

/// Any whole number is a seed; the engine takes 32 bits of it.
pub(crate) const fn seed(Integer(number): Integer) -> u32 {
    (number & 0xffff_ffff) as u32
}

/// Tokens to choose from; 0 and less is all of them.
pub(crate) fn top_k(Integer(number): Integer) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// A turn of text.
pub(crate) fn turn(role: &str, content: impl Into<String>) -> wire::ChatMessage {
    wire::ChatMessage { role: role.to_owned(), content: content.into(), ..wire::ChatMessage::default() }
}

/// A conversation that can be asked: some messages, not too much of them.
pub(crate) fn conversation(
    param: &'static str,
    messages: Vec<wire::ChatMessage>,
) -> Result<Vec<wire::ChatMessage>, Problem> {
    let count = messages.len();
    if count == 0 {
        return Err(invalid(param, format!("`{param}` is empty; send at least one message.")));
    }
    if count > MOST_MESSAGES {
        return Err(invalid(param, format!("There are {count} messages; at most {MOST_MESSAGES} are read.")));
    }
    let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
    if bytes > MOST_PROMPT_BYTES {
        let detail = format!("The messages have {bytes} bytes; at most {MOST_PROMPT_BYTES} are read.");
        return Err(invalid(param, detail));
    }
    Ok(messages)
}

/// Texts before which an answer ends.
pub(crate) fn stops(name: &'static str, stops: Vec<String>) -> Result<Vec<String>, Problem> {
    if stops.len() > MOST_STOPS {
        return Err(invalid(name, format!("`{name}` may name at most {MOST_STOPS} texts.")));
    }
    if stops.iter().any(String::is_empty) {
        return Err(invalid(name, format!("`{name}` holds an empty text; leave it out.")));
    }
    Ok(stops)
}

/// A function that a model may call.
pub(crate) fn tool(name: &str, description: &str, parameters: Option<&Value>) -> Result<Value, Problem> {
    let proper = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.len() > MOST_NAME || !name.chars().all(proper) {
        let detail = format!(
            "The tool name {name:?} is not allowed; use 1 to {MOST_NAME} letters, digits, underscores, dots and \
             dashes."
        );
        return Err(invalid("tools", detail));
    }
    let empty = json!({"type": "object", "properties": {}});
    let parameters = parameters.filter(|schema| !schema.is_null()).unwrap_or(&empty);
    if !parameters.is_object() {
        return Err(invalid("tools", format!("The parameters of {name} must be a JSON Schema object.")));
    }
    let function = json!({"name": name, "description": description, "parameters": parameters});
    Ok(json!({"type": "function", "function": function}))
}

/// Tools in the runner's form.
pub(crate) fn tools(tools: &[Value]) -> Result<String, Problem> {
    match tools.len() {
        0 => Ok(String::new()),
        1..=MOST_TOOLS => Ok(Value::from(tools).to_string()),
        count => Err(invalid(
            "tools",
            format!("There are {count} tools; at most {MOST_TOOLS} are shown to a model."),
        )),
    }
}

/// Arguments of an earlier call, as the JSON object that templates need. A model may have written them badly,
/// and its conversation goes on all the same: what is no object is shown in one.
pub(crate) fn arguments(arguments: &Value) -> String {
    let text = match arguments {
        Value::Object(_) => return arguments.to_string(),
        Value::Null => "",
        Value::String(text) => text.as_str(),
        other => return json!({"arguments": other}).to_string(),
    };
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => text.to_owned(),
        _ if text.trim().is_empty() => "{}".into(),
        _ => json!({"arguments": text}).to_string(),
    }
}

/// How long a model stays loaded: seconds, or text such as `10m`, `1h30m`, `-1` (for ever) and `0` (not at all).
pub(crate) fn keep_alive(value: &Value) -> Result<Option<KeepAlive>, Problem> {
    let seconds = |number: f64| {
        let time = Duration::try_from_secs_f64(number);
        time.map_or(KeepAlive::Forever, KeepAlive::For)
    };
    let time = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_f64().map(seconds),
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Some(seconds(number)),
            _ if text.starts_with('-') => Some(KeepAlive::Forever),
            _ => text.parse::<jiff::SignedDuration>().ok().map(|time| seconds(time.as_secs_f64())),
        },
        _ => None,
    };
    time.map(Some).ok_or_else(|| {
        invalid(
            "keep_alive",
            format!("`keep_alive` is {value}; it must be seconds, or a time such as \"10m\"."),
        )
    })
}

/// The shape of an answer from a JSON Schema.
pub(crate) fn schema(param: &'static str, schema: &Value) -> Result<wire::generate_request::Format, Problem> {
    match schema {
        Value::Object(_) | Value::Bool(_) => {
            Ok(wire::generate_request::Format::JsonSchema(schema.to_string()))
        }
        _ => Err(invalid(param, format!("`{param}` must hold a JSON Schema, which is an object."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_need_a_name_and_a_schema() {
        assert!(tool("get_weather", "", None).is_ok_and(|tool| tool["function"]["parameters"].is_object()));
        assert!(tool("get weather", "", None).is_err());
        assert!(tool("", "", None).is_err());
        assert!(tool("f", "", Some(&json!([]))).is_err());
        assert!(tools(&vec![json!({}); MOST_TOOLS + 1]).is_err());
        assert_eq!(tools(&[]).ok().as_deref(), Some(""));
    }

    #[test]
    fn a_model_is_kept_for_seconds_a_time_or_ever() {
        let minutes = |count: u64| Some(KeepAlive::For(Duration::from_secs(60 * count)));
        for (value, expected) in [
            (json!(null), None),
            (json!(300), minutes(5)),
            (json!("5m"), minutes(5)),
            (json!("1h30m"), minutes(90)),
            (json!("300"), minutes(5)),
            (json!(0), minutes(0)),
            (json!(-1), Some(KeepAlive::Forever)),
            (json!("-1m"), Some(KeepAlive::Forever)),
        ] {
            assert_eq!(keep_alive(&value).expect("accepted"), expected, "{value}");
        }
        for value in [json!("soon"), json!([]), json!(true), json!("")] {
            assert!(keep_alive(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn arguments_are_objects() {
        for (given, expected) in [
            (json!(null), "{}"),
            (json!(" "), "{}"),
            (json!("{\"a\":1}"), "{\"a\":1}"),
            (json!({"a": 1}), "{\"a\":1}"),
            (json!("{\"a\":"), "{\"arguments\":\"{\\\"a\\\":\"}"),
            (json!([1]), "{\"arguments\":[1]}"),
        ] {
            assert_eq!(arguments(&given), expected, "{given}");
        }
    }

    #[test]
    fn limits_are_at_least_one_or_none() {
        let limit = |number| token_limit("max_tokens", Some(Integer(number)));
        assert_eq!(limit(-1).ok(), Some(Some(0)));
        assert_eq!(limit(1 << 40).ok(), Some(Some(u32::MAX)));
        assert!(limit(0).is_err() && limit(-2).is_err());
    }
}
