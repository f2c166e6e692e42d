//! Ollama's and Anthropic's surfaces against real runners.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::{Agent, Events};

/// The lines of an NDJSON answer.
async fn lines(agent: &Agent, path: &str, body: &Value) -> Vec<Value> {
    let text = agent.text("POST", path, &body.to_string()).await;
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[tokio::test]
async fn ollama_streams_lines_unless_told_otherwise() {
    let agent = Agent::start(&["one"], "").await;
    let mut body = json!({
        "model": "one:latest",
        "messages": [{"role": "user", "content": "Once upon a time"}],
        "options": {"num_predict": 6},
    });
    let pieces = lines(&agent, "/api/chat", &body).await;
    let (last, rest) = pieces.split_last().expect("pieces");
    assert!(rest.iter().all(|piece| piece["done"] == false), "{pieces:?}");
    assert_eq!(
        (&last["done"], &last["done_reason"], &last["eval_count"]),
        (&json!(true), &json!("length"), &json!(6))
    );
    let durations =
        ["total_duration", "prompt_eval_duration", "eval_duration"].map(|name| last[name].as_u64());
    assert!(durations.iter().all(|duration| duration.is_some_and(|ns| ns > 0)), "{last}");
    assert!(durations[0] >= durations[1].max(durations[2]), "{last}");
    let said: String = pieces.iter().filter_map(|piece| piece["message"]["content"].as_str()).collect();
    body["stream"] = false.into();
    let (status, whole) = agent.ask("POST", "/api/chat", &body.to_string()).await;
    assert_eq!((status, &whole["message"]["content"]), (200, &json!(said)), "{whole}");

    let body = json!({"model": "one", "prompt": "Once", "raw": true, "stream": false, "options": {"num_predict": 3}});
    let (_, reply) = agent.ask("POST", "/api/generate", &body.to_string()).await;
    assert!(reply["response"].as_str().is_some_and(|text| !text.is_empty()), "{reply}");
    let body = json!({"model": "one", "messages": []});
    let (_, reply) = agent.ask("POST", "/api/chat", &body.to_string()).await;
    assert_eq!(reply["done_reason"], "load", "{reply}");
}

#[tokio::test]
async fn ollama_tells_what_models_there_are() {
    let agent = Agent::start(&["one"], "").await;
    let (_, tags) = agent.ask("GET", "/api/tags", "").await;
    let model = &tags["models"][0];
    assert_eq!((&model["model"], &model["details"]["format"]), (&json!("one"), &json!("gguf")), "{tags}");
    assert_eq!(model["details"]["family"], "llama", "{tags}");
    assert!(model["details"]["parameter_size"].as_str().is_some_and(|size| size.ends_with('M')), "{tags}");
    let (_, shown) = agent.ask("POST", "/api/show", "{\"model\":\"one\"}").await;
    assert_eq!(shown["model_info"]["general.architecture"], "llama", "{shown}");
    assert!(shown["template"].as_str().is_some_and(|text| text.contains("messages")), "{shown}");
    let (_, before) = agent.ask("GET", "/api/ps", "").await;
    assert_eq!(before["models"], json!([]), "{before}");
    let (_, reply) =
        agent.ask("POST", "/api/embed", &json!({"model": "one", "input": ["a", "b"]}).to_string()).await;
    assert_eq!(reply["embeddings"].as_array().map(Vec::len), Some(2), "{reply}");
    let (_, after) = agent.ask("GET", "/api/ps", "").await;
    assert_eq!(after["models"][0]["model"], "one", "{after}");
    assert!(after["models"][0]["expires_at"].as_str().is_some_and(|time| !time.is_empty()), "{after}");
    for (path, body) in [
        ("/api/chat", json!({"model": "none", "messages": [{"role": "user", "content": "x"}]})),
        ("/api/show", json!({"model": "none"})),
    ] {
        let (status, reply) = agent.ask("POST", path, &body.to_string()).await;
        assert_eq!(status, 404, "{reply}");
        assert!(reply["error"].as_str().is_some_and(|text| text.contains("none")), "{reply}");
    }
}

#[tokio::test]
async fn anthropics_messages_come_whole_and_as_events() {
    let agent = Agent::start(&["one"], "").await;
    let mut body = json!({
        "model": "one",
        "max_tokens": 8,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Once upon a time"}]}],
    });
    let (status, whole) = agent.ask("POST", "/v1/messages", &body.to_string()).await;
    assert_eq!(status, 200, "{whole}");
    assert_eq!((&whole["type"], &whole["stop_reason"]), (&json!("message"), &json!("max_tokens")), "{whole}");
    assert_eq!(whole["usage"]["output_tokens"], 8, "{whole}");
    let text = whole["content"][0]["text"].as_str().expect("text").to_owned();
    let stop: String = text.chars().skip(text.chars().count() / 2).take(3).collect();

    body["stream"] = true.into();
    let events = Events::of(agent.send("POST", "/v1/messages", &body.to_string()).await).rest().await;
    let said: String = events
        .iter()
        .filter(|event| event.name == "content_block_delta")
        .filter_map(|event| event.json()["delta"]["text"].as_str().map(String::from))
        .collect();
    assert_eq!(said, text);
    assert_eq!(events.last().map(|event| event.name.as_str()), Some("message_stop"));

    body["stream"] = false.into();
    body["stop_sequences"] = json!(["\u{1}never", stop]);
    let (_, reply) = agent.ask("POST", "/v1/messages", &body.to_string()).await;
    assert_eq!(
        (&reply["stop_reason"], &reply["stop_sequence"]),
        (&json!("stop_sequence"), &json!(stop)),
        "{reply}"
    );

    body["stop_sequences"] = json!([]);
    body["max_tokens"] = 64.into();
    body["tools"] = json!([{"name": "f", "input_schema": {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": false}}]);
    body["tool_choice"] = json!({"type": "any"});
    let (_, reply) = agent.ask("POST", "/v1/messages", &body.to_string()).await;
    assert_eq!(
        (&reply["stop_reason"], &reply["content"][0]["type"]),
        (&json!("tool_use"), &json!("tool_use")),
        "{reply}"
    );
    assert!(reply["content"][0]["input"]["n"].is_number(), "{reply}");

    let (status, reply) = agent.ask("POST", "/v1/messages", "{\"model\":\"one\"").await;
    assert_eq!((status, &reply["type"]), (400, &json!("error")), "{reply}");
    body["model"] = "none".into();
    let (status, reply) = agent.ask("POST", "/v1/messages", &body.to_string()).await;
    assert_eq!((status, &reply["error"]["type"]), (404, &json!("not_found_error")), "{reply}");
}
