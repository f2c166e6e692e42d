//! The OpenAI surface against real runners: shapes of answers, tools, probabilities, embeddings, plain prompts.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::{Agent, Events};

/// Less than a request waits for what can only be told at its end.
const FIRST_BYTE: std::time::Duration = std::time::Duration::from_secs(15);

fn weather() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": false,
    });
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}])
}

fn chat(more: &Value) -> String {
    let mut body = json!({
        "model": "one",
        "messages": [{"role": "user", "content": "Once upon a time"}],
        "max_tokens": 64,
    });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body.to_string()
}

#[tokio::test]
async fn a_tool_that_has_to_be_called_is_called_with_arguments_of_its_schema() {
    let agent = Agent::start(&["one"], "").await;
    let choice = json!({"type": "function", "function": {"name": "get_weather"}});
    let body = chat(&json!({"tools": weather(), "tool_choice": choice}));
    let (status, reply) = agent.ask("POST", "/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{reply}");
    let choice = &reply["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{reply}");
    let call = &choice["message"]["tool_calls"][0];
    assert!(call["id"].as_str().is_some_and(|id| id.starts_with("call_")), "{reply}");
    assert_eq!(call["function"]["name"], "get_weather", "{reply}");
    let arguments: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().expect("text")).expect("JSON");
    assert!(["Paris", "Rome"].iter().any(|city| arguments["city"] == *city), "{reply}");

    // The conversation goes on with the call and its result.
    let messages = json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]);
    let body = chat(&json!({"tools": weather(), "messages": messages, "max_tokens": 4, "stream": true}));
    let events = Events::of(agent.send("POST", "/v1/chat/completions", &body).await).rest().await;
    assert_eq!(events.last().map(|event| event.data.as_str()), Some("[DONE]"));
}

#[tokio::test]
async fn an_answer_has_the_shape_that_was_asked_for() {
    let agent = Agent::start(&["one"], "").await;
    let schema = json!({
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}, "ok": {"type": "boolean"}},
        "required": ["n", "ok"],
        "additionalProperties": false,
    });
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "s", "strict": true, "schema": schema}});
    let (status, reply) =
        agent.ask("POST", "/v1/chat/completions", &chat(&json!({"response_format": format}))).await;
    assert_eq!(status, 200, "{reply}");
    let content = reply["choices"][0]["message"]["content"].as_str().expect("text");
    let parsed: Value = serde_json::from_str(content).expect(content);
    assert!(parsed["n"].as_i64().is_some_and(|n| (1..=9).contains(&n)), "{content}");
    assert!(parsed["ok"].is_boolean(), "{content}");
    assert_eq!(reply["choices"][0]["finish_reason"], "stop", "{reply}");

    for hostile in [json!({"$ref": "#/nowhere"}), json!({"type": "nonsense"}), json!({"pattern": "("})] {
        let format = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": hostile}});
        let (status, reply) =
            agent.ask("POST", "/v1/chat/completions", &chat(&json!({"response_format": format}))).await;
        assert_eq!(status, 400, "{hostile}: {reply}");
    }
    let (status, reply) = agent.ask("POST", "/v1/chat/completions", &chat(&json!({"max_tokens": 2}))).await;
    assert_eq!(status, 200, "the runner lives on: {reply}");
}

#[tokio::test]
async fn probabilities_biases_and_timings_are_told() {
    let agent = Agent::start(&["one"], "").await;
    let body = chat(&json!({"logprobs": true, "top_logprobs": 3, "max_tokens": 5}));
    let (_, reply) = agent.ask("POST", "/v1/chat/completions", &body).await;
    let tokens = reply["choices"][0]["logprobs"]["content"].as_array().expect("tokens").clone();
    assert_eq!(tokens.len(), 5, "{reply}");
    let said: String = tokens.iter().filter_map(|token| token["token"].as_str()).collect();
    assert_eq!(reply["choices"][0]["message"]["content"], said, "{reply}");
    for token in &tokens {
        assert_eq!(token["top_logprobs"].as_array().map(Vec::len), Some(3), "{reply}");
        // Greedy: the chosen one is the most likely one.
        assert_eq!(token["top_logprobs"][0]["logprob"], token["logprob"], "{reply}");
    }
    assert_eq!(reply["timings"]["predicted_n"], 5, "{reply}");
    assert!(reply["timings"]["predicted_per_second"].as_f64().is_some_and(|speed| speed > 0.0), "{reply}");
    let (_, again) = agent.ask("POST", "/v1/chat/completions", &body).await;
    assert!(again["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64() > Some(0), "{again}");
    let (status, reply) =
        agent.ask("POST", "/v1/chat/completions", &chat(&json!({"logit_bias": {"999999": 1}}))).await;
    assert_eq!(status, 400, "{reply}");
}

#[tokio::test]
async fn plain_prompts_are_continued() {
    let agent = Agent::start(&["one"], "").await;
    let body =
        json!({"model": "one", "prompt": ["Once", "Once"], "max_tokens": 6, "echo": true, "logprobs": 1});
    let (status, reply) = agent.ask("POST", "/v1/completions", &body.to_string()).await;
    assert_eq!(status, 200, "{reply}");
    let texts: Vec<&str> = reply["choices"]
        .as_array()
        .expect("choices")
        .iter()
        .filter_map(|choice| choice["text"].as_str())
        .collect();
    assert_eq!(texts.len(), 2, "{reply}");
    assert_eq!(texts[0], texts[1], "greedy");
    assert!(texts[0].starts_with("Once"), "{reply}");
    assert_eq!(reply["choices"][0]["logprobs"]["tokens"].as_array().map(Vec::len), Some(6), "{reply}");
    assert_eq!(reply["usage"]["completion_tokens"], 12, "{reply}");
    let body = json!({"model": "one", "prompt": "Once", "max_tokens": 6, "stream": true, "stream_options": {"include_usage": true}});
    let events = Events::of(agent.send("POST", "/v1/completions", &body.to_string()).await).rest().await;
    let chunks: Vec<Value> =
        events.iter().filter(|event| event.data != "[DONE]").map(support::events::Event::json).collect();
    let said: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(format!("Once{said}"), texts[0]);
    assert_eq!(chunks.last().expect("usage")["usage"]["completion_tokens"], 6);
}

#[tokio::test]
async fn texts_become_vectors_of_length_one() {
    let agent = Agent::start(&["one"], "").await;
    let body = json!({"model": "one", "input": ["the same", "the same", "another text"]});
    let (status, reply) = agent.ask("POST", "/v1/embeddings", &body.to_string()).await;
    assert_eq!(status, 200, "{reply}");
    let vectors: Vec<Vec<f64>> = reply["data"]
        .as_array()
        .expect("data")
        .iter()
        .map(|one| one["embedding"].as_array().expect("vector").iter().filter_map(Value::as_f64).collect())
        .collect();
    let product = |left: &[f64], right: &[f64]| left.iter().zip(right).map(|(a, b)| a * b).sum::<f64>();
    assert!((product(&vectors[0], &vectors[1]) - 1.0).abs() < 1e-3);
    assert!(product(&vectors[0], &vectors[2]) < 0.999);
    let body = json!({"model": "one", "input": "the same", "encoding_format": "base64", "dimensions": 4});
    let (_, reply) = agent.ask("POST", "/v1/embeddings", &body.to_string()).await;
    // 16 bytes.
    assert_eq!(reply["data"][0]["embedding"].as_str().map(str::len), Some(24), "{reply}");
}

#[tokio::test]
async fn many_prompts_are_continued_side_by_side() {
    let agent = Agent::start(&["one"], "").await;
    // A runner answers two at a time: those two are told at once, whatever the third one waits for.
    let body =
        json!({"model": "one", "prompt": ["Once", "Twice", "Thrice"], "max_tokens": -1, "stream": true});
    let body = body.to_string();
    let sent = agent.send("POST", "/v1/completions", &body);
    let mut events = Events::of(tokio::time::timeout(FIRST_BYTE, sent).await.expect("a first byte in time"));
    let mut begun = std::collections::BTreeSet::new();
    while begun.len() < 2 {
        let event = events.next().await.expect("an event").json();
        assert_eq!(event["choices"][0]["finish_reason"], Value::Null, "one ended before the other began");
        begun.insert(event["choices"][0]["index"].as_u64());
    }
    drop(events);
    let prompts: Vec<String> = (0..32).map(|number| format!("Once {number}")).collect();
    let body = json!({"model": "one", "prompt": prompts, "max_tokens": 3, "stream": true, "stream_options": {"include_usage": true}});
    let events = Events::of(agent.send("POST", "/v1/completions", &body.to_string()).await).rest().await;
    let chunks: Vec<Value> =
        events.iter().filter(|event| event.data != "[DONE]").map(support::events::Event::json).collect();
    let ends = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"] == "length").count();
    assert_eq!((ends, &chunks.last().expect("usage")["usage"]["completion_tokens"]), (32, &json!(96)));
}

#[tokio::test]
async fn each_of_several_answers_has_the_next_seed() {
    let agent = Agent::start(&["one"], "").await;
    let asked = |more: &Value| {
        let mut more = more.clone();
        more["temperature"] = 1.5.into();
        more["max_tokens"] = 12.into();
        chat(&more)
    };
    let (status, both) = agent.ask("POST", "/v1/chat/completions", &asked(&json!({"n": 2, "seed": 7}))).await;
    assert_eq!(status, 200, "{both}");
    let told: Vec<&Value> = both["choices"]
        .as_array()
        .expect("choices")
        .iter()
        .map(|choice| &choice["message"]["content"])
        .collect();
    assert_eq!((told.len(), &both["usage"]["completion_tokens"]), (2, &json!(24)), "{both}");
    assert_ne!(told[0], told[1], "{both}");
    for (seed, text) in [(7, told[0]), (8, told[1])] {
        let (_, one) = agent.ask("POST", "/v1/chat/completions", &asked(&json!({"seed": seed}))).await;
        assert_eq!(&one["choices"][0]["message"]["content"], text, "{seed}");
        assert_eq!(one["usage"]["prompt_tokens"], both["usage"]["prompt_tokens"], "the prompt is read once");
    }
    let body = json!({"model": "one", "prompt": ["Once", "Twice"], "n": 2, "echo": true, "max_tokens": 2});
    let (status, reply) = agent.ask("POST", "/v1/completions", &body.to_string()).await;
    assert_eq!(status, 200, "{reply}");
    let begins: Vec<bool> = reply["choices"]
        .as_array()
        .expect("choices")
        .iter()
        .filter_map(|choice| Some(choice["text"].as_str()?.starts_with("Once")))
        .collect();
    assert_eq!(begins, [true, true, false, false], "{reply}");
}
