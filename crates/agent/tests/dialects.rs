//! What clients send that reads oddly, and what becomes of it with a model that really answers.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::{Agent, Events};

async fn answered(agent: &Agent, path: &str, body: &Value) -> Value {
    let (status, reply) = agent.ask("POST", path, &body.to_string()).await;
    assert_eq!(status, 200, "{path} {body}: {reply}");
    reply
}

#[tokio::test]
async fn a_model_that_is_kept_for_ever_expires_in_a_far_year() {
    let agent = Agent::start(&["one", "two"], "").await;
    answered(&agent, "/api/chat", &json!({"model": "one", "messages": null, "keep_alive": -1})).await;
    answered(&agent, "/api/embed", &json!({"model": "two", "input": "x", "keep_alive": "1h"})).await;
    let (_, ps) = agent.ask("GET", "/api/ps", "").await;
    let told: Vec<&str> = ps["models"]
        .as_array()
        .expect("models")
        .iter()
        .filter_map(|model| model["expires_at"].as_str())
        .collect();
    assert!(told.len() == 2 && told[0].starts_with("23") && told[1].starts_with("20"), "{ps}");
}

#[tokio::test]
async fn every_dialect_knows_models_by_the_names_of_the_others() {
    let agent = Agent::start(&["qwen3-0.6b"], "").await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    for name in ["qwen3-0.6b", "qwen3-0.6b:latest", "qwen3:0.6b"] {
        for (path, more) in [
            ("/v1/chat/completions", json!({"messages": messages, "max_tokens": 1})),
            ("/v1/completions", json!({"prompt": "hi", "max_tokens": 1})),
            ("/v1/embeddings", json!({"input": "hi"})),
            ("/v1/messages", json!({"messages": messages, "max_tokens": 1})),
            ("/api/chat", json!({"messages": messages, "options": {"num_predict": 1}, "stream": false})),
            ("/api/embed", json!({"input": "hi"})),
            ("/api/show", json!({"name": name})),
        ] {
            let mut body = more;
            body["model"] = name.into();
            let reply = answered(&agent, path, &body).await;
            assert!(path == "/api/show" || reply["model"] == name, "{reply}");
        }
        let (status, reply) = agent.ask("GET", &format!("/v1/models/{name}"), "").await;
        assert_eq!((status, &reply["id"]), (200, &json!("qwen3-0.6b")), "{reply}");
    }
}

#[tokio::test]
async fn conversations_without_words_and_with_broken_calls_go_on() {
    let agent = Agent::start(&["one"], "").await;
    let call =
        json!({"id": null, "type": "function", "function": {"name": "f", "arguments": "{\"city\": \"Par"}});
    for messages in [
        json!([{"role": "user", "content": ""}]),
        json!([{"role": "system", "content": null}]),
        json!([
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "", "content": "no such city"},
        ]),
    ] {
        let body = json!({"model": "one", "messages": messages, "max_tokens": 2.0});
        let reply = answered(&agent, "/v1/chat/completions", &body).await;
        assert_eq!(reply["usage"]["completion_tokens"], 2, "{reply}");
        let body =
            json!({"model": "one", "messages": messages, "stream": false, "options": {"num_predict": 2.0}});
        let reply = answered(&agent, "/api/chat", &body).await;
        assert_eq!(reply["eval_count"], 2, "{reply}");
    }
}

#[tokio::test]
async fn an_answer_without_a_limit_ends_with_the_context() {
    let agent = Agent::start(&["one"], "").await;
    // The model never ends by itself; a letter that comes soon does.
    let messages = json!([{"role": "user", "content": "Once upon a time"}]);
    let body = json!({"model": "one", "messages": messages, "max_tokens": -1, "stop": ["e", "a", "o", "i"]});
    let reply = answered(&agent, "/v1/chat/completions", &body).await;
    assert_eq!(reply["choices"][0]["finish_reason"], "stop", "{reply}");
}

#[tokio::test]
async fn nothing_to_embed_loads_the_model_and_gives_no_vector() {
    let agent = Agent::start(&["one"], "").await;
    for input in [json!(""), json!([]), json!(null)] {
        let reply = answered(&agent, "/api/embed", &json!({"model": "one", "input": input})).await;
        assert_eq!(reply["embeddings"], json!([]), "{input}");
    }
    let reply = answered(&agent, "/api/embeddings", &json!({"model": "one", "prompt": ""})).await;
    assert_eq!(reply["embedding"], json!([]));
    assert_eq!(agent.state("one").await, "ready");
    let (status, reply) =
        agent.ask("POST", "/v1/embeddings", &json!({"model": "one", "input": [[1, 2]]}).to_string()).await;
    assert_eq!((status, &reply["error"]["param"]), (400, &json!("input")), "{reply}");
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_refused_in_the_words_that_agents_know() {
    let agent = Agent::start(&["one"], "").await;
    let messages = json!([{"role": "user", "content": "word ".repeat(3 * support::CONTEXT as usize)}]);
    for stream in [false, true] {
        let body = json!({"model": "one", "messages": messages, "max_tokens": 5, "stream": stream});
        let (status, reply) = agent.ask("POST", "/v1/chat/completions", &body.to_string()).await;
        assert_eq!((status, &reply["error"]["code"]), (400, &json!("context_length_exceeded")), "{reply}");
        let message = reply["error"]["message"].as_str().expect("text");
        assert!(message.contains(&format!("maximum context length is {}", support::CONTEXT)), "{message}");
        let (status, reply) = agent.ask("POST", "/v1/messages", &body.to_string()).await;
        assert_eq!((status, &reply["error"]["type"]), (400, &json!("invalid_request_error")), "{reply}");
        let message = reply["error"]["message"].as_str().expect("text");
        let maximum = format!("tokens > {} maximum", support::CONTEXT - 1);
        assert!(message.starts_with("prompt is too long: ") && message.ends_with(&maximum), "{message}");
    }
}

/// Gives a model of the store a chat template like most: the guide's own shows nothing but the last question.
fn show_whole_conversations(file: &std::path::Path) {
    const TEMPLATE: &str = "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\n' + \
        message['content'] + '<|im_and|>\n' -}}{%- endfor -%}{{- '<|im_start|>assistant\n' -}}";
    let mut bytes = std::fs::read(file).expect("model");
    let begins = bytes.windows(12).position(|part| part == b"{%- set ns =").expect("a template");
    // Its length is before it.
    let length = u64::from_le_bytes(bytes[begins - 8..begins].try_into().expect("a number")) as usize;
    let padded = format!("{TEMPLATE}{{#{}#}}", " ".repeat(length - TEMPLATE.len() - 4));
    bytes[begins..begins + length].copy_from_slice(padded.as_bytes());
    std::fs::write(file, bytes).expect("written");
}

#[tokio::test]
async fn tokens_are_told_before_the_answer_about_as_they_are_counted_in_it() {
    let agent = Agent::start(&["one"], "").await;
    show_whole_conversations(&agent.model_folder("one").join("m.gguf"));
    let tool = json!({"name": "f", "description": "Does it.", "input_schema": {"type": "object"}});
    let call = json!([{"type": "tool_use", "id": "t", "name": "f", "input": {"city": "Paris"}}]);
    let result = json!([{"type": "tool_result", "tool_use_id": "t", "content": "It is sunny in Paris."}]);
    let question = json!({"role": "user", "content": "Once upon a time there was a box. ".repeat(20)});
    for (messages, tools) in [
        (json!([question]), json!([])),
        (json!([question, {"role": "assistant", "content": "Was there?"}, question]), json!([])),
        (
            json!([question, {"role": "assistant", "content": call}, {"role": "user", "content": result}]),
            json!([tool]),
        ),
    ] {
        let asked = json!({"model": "one", "system": "Be brief.", "messages": messages, "tools": tools});
        let told = answered(&agent, "/v1/messages/count_tokens", &asked).await;
        let counted = told["input_tokens"].as_f64().expect("a number");
        let mut asked = asked;
        asked["max_tokens"] = 2.into();
        let usage = answered(&agent, "/v1/messages", &asked).await["usage"].clone();
        let real =
            ["input_tokens", "cache_read_input_tokens"].map(|name| usage[name].as_f64().expect("a number"));
        let real: f64 = real.iter().sum();
        assert!((counted - real).abs() <= 0.1 * real, "{counted} instead of {real}: {asked}");
        asked["stream"] = true.into();
        let mut events = Events::of(agent.send("POST", "/v1/messages", &asked.to_string()).await);
        let start = events.next().await.expect("an event").json();
        assert_eq!(start["message"]["usage"]["input_tokens"].as_f64(), Some(counted), "{start}");
    }
}
