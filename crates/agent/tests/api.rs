//! The agent's HTTP surface against real runners: answers, streams, refusals.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::{Agent, Events, KEY, READING_KEY, parsed};

/// Method, path, key, body; then the status and the kind of the refusal.
type Refusal = (&'static str, &'static str, Option<&'static str>, &'static [u8], u16, &'static str);

fn chat(model: &str, more: &Value) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Once upon a time"}]});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body.to_string()
}

#[tokio::test]
async fn two_models_answer_one_question_and_their_answers_are_integrated() {
    let agent = Agent::start(&["one", "two"], "").await;
    let body = json!({"prompt": "Once upon a time", "models": ["two", "one"], "max_tokens": 8});
    let (status, reply) = agent.ask("POST", "/query", &body.to_string()).await;
    assert_eq!(status, 200, "{reply}");
    let answers = reply["answers"].as_array().expect("answers");
    assert_eq!(answers.iter().map(|answer| &answer["model"]).collect::<Vec<_>>(), ["two", "one"]);
    for answer in answers {
        assert_eq!(answer["error"], Value::Null, "{reply}");
        assert_eq!(answer["generated_tokens"], 8, "{reply}");
        assert!(answer["prompt_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{reply}");
        assert!(!answer["text"].as_str().expect("text").is_empty(), "{reply}");
        assert_eq!(answer["finish_reason"], "length", "{reply}");
    }
    assert_eq!(answers[0]["text"], answers[1]["text"], "greedy answers of the same model");
    // One of them writes the summary, and is cut off: what both say stands in its place.
    let summary = &reply["summary"];
    assert_eq!((&summary["method"], &summary["model"]), (&json!("extractive"), &Value::Null), "{reply}");
    assert_eq!(summary["points"][0]["models"], json!(["two", "one"]), "{reply}");
    assert_eq!(summary["left_out"], json!([]), "{reply}");

    // No models named means all; one answer is its own summary.
    let (_, reply) = agent.ask("POST", "/query", &json!({"prompt": "Hi", "max_tokens": 2}).to_string()).await;
    assert_eq!(reply["answers"].as_array().map(Vec::len), Some(2), "{reply}");
    // Both were asked before, so the time can be told.
    assert_eq!(reply["plan"]["order"], "parallel", "{reply}");
    assert!(reply["plan"]["estimate_s"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{reply}");
    // One question to the one that suits it.
    let (status, reply) =
        agent.ask("POST", "/api/v1/query", &json!({"prompt": "Hi", "max_tokens": 2}).to_string()).await;
    assert_eq!(status, 200, "{reply}");
    assert!(["one", "two"].iter().any(|id| reply["model"] == *id), "{reply}");
    assert!(reply["why"]["en"].as_str().is_some_and(|why| why.contains("conversation")), "{reply}");
    let body = json!({"prompt": "Hi", "models": ["one"], "max_tokens": 2});
    let (_, reply) = agent.ask("POST", "/query", &body.to_string()).await;
    assert_eq!(reply["summary"]["method"], "single", "{reply}");
    assert_eq!(reply["summary"]["text"], reply["answers"][0]["text"], "{reply}");
}

#[tokio::test]
async fn a_streamed_query_tells_everything_as_it_happens() {
    let agent = Agent::start(&["one", "two"], "").await;
    let body = json!({"prompt": "Once upon a time", "stream": true, "max_tokens": 8});
    let events = Events::of(agent.send("POST", "/query", &body.to_string()).await).rest().await;
    assert_eq!(events[0].name, "start");
    assert_eq!(events[0].json()["models"], json!(["one", "two"]));
    assert_eq!(events.last().map(|event| event.name.as_str()), Some("done"));
    for id in ["one", "two"] {
        let tokens = events.iter().filter(|event| event.name == "token").map(support::events::Event::json);
        let said: String = tokens.filter(|data| data["model"] == id).map(|data| text(&data)).collect();
        let answers = events.iter().filter(|event| event.name == "answer").map(support::events::Event::json);
        let answer = answers.into_iter().find(|data| data["model"] == id).expect("answer");
        assert_eq!(answer["text"], said, "the pieces make up the answer of {id}");
    }
    let pieces = events.iter().filter(|event| event.name == "summary_token");
    let said: String = pieces.map(support::events::Event::json).map(|data| text(&data)).collect();
    let summary = events.iter().find(|event| event.name == "summary").expect("summary").json();
    // What the writer began was cut off, and is replaced.
    assert_eq!(summary["method"], "extractive");
    assert!(said.ends_with(&text(&summary)) && said.len() > text(&summary).len(), "{said}");
}

#[tokio::test]
async fn one_model_that_cannot_be_used_does_not_fail_the_rest() {
    let agent = Agent::start(&["good", "bad"], "").await;
    std::fs::write(agent.model_folder("bad").join("m.gguf"), "GGUF and then nothing").expect("file");
    let body = json!({"prompt": "Hi", "models": ["bad", "good"], "max_tokens": 4});
    let (status, reply) = agent.ask("POST", "/query", &body.to_string()).await;
    assert_eq!(status, 200, "{reply}");
    assert!(text_of(&reply["answers"][0]["error"]).contains("its manifest says"), "{reply}");
    assert_eq!(reply["answers"][1]["error"], Value::Null, "{reply}");
    assert_eq!(reply["summary"]["method"], "single", "{reply}");
    assert_eq!(reply["summary"]["left_out"], json!([{"model": "bad", "reason": "failed"}]), "{reply}");
    // Nobody asked for it by name, so it is left out.
    let (_, reply) = agent.ask("POST", "/query", &json!({"prompt": "Hi", "max_tokens": 4}).to_string()).await;
    assert_eq!(reply["answers"].as_array().map(Vec::len), Some(1), "{reply}");
}

#[tokio::test]
async fn a_question_that_nobody_can_answer_is_refused_and_not_summed_up() {
    let agent = Agent::start(&["one", "two"], "").await;
    let long = "once upon a time ".repeat(6000);
    let body = json!({"prompt": long, "models": ["one", "two"]});
    let (status, reply) = agent.ask("POST", "/query", &body.to_string()).await;
    assert_eq!((status, text_of(&reply["type"]).contains("context_length_exceeded")), (400, true), "{reply}");
    assert!(reply["prompt_tokens"].as_u64() > reply["context_tokens"].as_u64(), "{reply}");
    let body = json!({"prompt": long, "models": ["one", "two"], "stream": true});
    let events = Events::of(agent.send("POST", "/query", &body.to_string()).await).rest().await;
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["start", "answer", "answer", "error", "done"]);
}

#[tokio::test]
async fn chat_completions_stop_where_they_are_told() {
    let agent = Agent::start(&["one"], "").await;
    let (status, reply) =
        agent.ask("POST", "/v1/chat/completions", &chat("one", &json!({"max_tokens": 12}))).await;
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["choices"][0]["finish_reason"], "length", "{reply}");
    assert_eq!(reply["usage"]["completion_tokens"], 12, "{reply}");
    let whole = text_of(&reply["choices"][0]["message"]["content"]);
    let stop: String = whole.chars().skip(whole.chars().count() / 2).take(3).collect();
    let before = whole.split(&stop).next().expect("text");
    let (_, reply) = agent
        .ask("POST", "/v1/chat/completions", &chat("one", &json!({"max_tokens": 12, "stop": stop})))
        .await;
    assert_eq!(reply["choices"][0]["finish_reason"], "stop", "{reply}");
    assert_eq!(reply["choices"][0]["message"]["content"], before, "{reply}");

    let more = json!({"max_tokens": 12, "stream": true, "stream_options": {"include_usage": true}});
    let events =
        Events::of(agent.send("POST", "/v1/chat/completions", &chat("one", &more)).await).rest().await;
    let (last, chunks) = events.split_last().expect("events");
    assert_eq!(last.data, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(support::events::Event::json).collect();
    let said: String = chunks.iter().map(|chunk| text_of(&chunk["choices"][0]["delta"]["content"])).collect();
    assert_eq!(said, whole);
    assert_eq!(chunks.last().expect("usage")["usage"]["completion_tokens"], 12);
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_in_the_shape_of_its_surface() {
    let agent = Agent::start(&["one"], "").await;
    let cases: [Refusal; 10] = [
        ("POST", "/query", None, b"{\"prompt\":\"x\"}", 401, "unauthenticated"),
        ("POST", "/query", Some("ab_wrong"), b"{\"prompt\":\"x\"}", 401, "unauthenticated"),
        ("POST", "/query", Some(READING_KEY), b"{\"prompt\":\"x\"}", 403, "missing-scope"),
        ("POST", "/query", Some(KEY), b"{\"prompt\":\"\"}", 422, "invalid"),
        ("POST", "/query", Some(KEY), b"{\"prompt\":\"\xff\"}", 400, ""),
        ("POST", "/query", Some(KEY), b"{\"prompt\":\"x\",\"models\":[\"on\"]}", 404, "model_not_found"),
        ("GET", "/v1/models", None, b"", 401, "invalid_api_key"),
        ("POST", "/v1/chat/completions", Some(KEY), b"{\"model\":", 400, ""),
        ("GET", "/v1/models/onn", Some(KEY), b"", 404, "model_not_found"),
        ("GET", "/v1/nothing", Some(KEY), b"", 404, ""),
    ];
    let mut replies = Vec::new();
    for (method, path, key, body, status, kind) in cases {
        replies.push((path, status, kind, parsed(agent.send_as(key, method, path, body).await).await));
    }
    for path in ["/query", "/v1/chat/completions"] {
        replies.push((path, 413, "too-large", agent.announce(path, 10 << 20).await));
    }
    for (path, status, kind, (got, reply)) in replies {
        assert_eq!(got, status, "{path}: {reply}");
        let (word, detail) = if path.starts_with("/v1/") {
            assert!(
                reply["error"]["type"].is_string() && reply["error"].get("param").is_some(),
                "{path}: {reply}"
            );
            (&reply["error"]["code"], &reply["error"]["message"])
        } else {
            assert_eq!(reply["status"], status, "{path}: {reply}");
            (&reply["type"], &reply["detail"])
        };
        assert!(!text_of(detail).is_empty(), "{path}: {reply}");
        assert!(kind.is_empty() || *word == kind, "{path}: {reply}");
    }
    let (_, reply) = agent.ask("POST", "/v1/chat/completions", &chat("onn", &json!({}))).await;
    assert_eq!(reply["error"]["code"], "model_not_found", "{reply}");
    assert!(text_of(&reply["error"]["message"]).contains("did you mean one?"), "{reply}");
}

#[tokio::test]
async fn the_models_are_listed_with_what_they_are() {
    let agent = Agent::start(&["one", "two"], "").await;
    let (status, list) = agent.ask("GET", "/v1/models", "").await;
    assert_eq!(status, 200, "{list}");
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2), "{list}");
    let (_, one) = agent.ask("GET", "/v1/models/one", "").await;
    assert_eq!(one, list["data"][0]);
    assert!(one["created"].as_u64().is_some_and(|created| created > 1_600_000_000), "{one}");
    // Anthropic's clients read the same list.
    assert_eq!(
        (&list["has_more"], &list["first_id"], &list["last_id"]),
        (&json!(false), &json!("one"), &json!("two"))
    );
    assert_eq!((&one["type"], &one["display_name"]), (&json!("model"), &json!("Stories")), "{one}");
    assert!(one["created_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{one}");
    for name in ["context_length", "max_model_len", "max_input_tokens"] {
        assert_eq!(one[name], support::CONTEXT, "{one}");
    }
    let chosen = json!({"options": {"context_tokens": 512}});
    let (status, reply) = agent.manage("PATCH", "/api/v1/models/one", &chosen.to_string()).await;
    assert_eq!(status, 200, "{reply}");
    let (_, one) = agent.ask("GET", "/v1/models/one", "").await;
    assert_eq!(one["context_length"], 512, "{one}");
    assert_eq!(agent.state("one").await, "idle");
    agent.ask("POST", "/v1/chat/completions", &chat("one", &json!({"max_tokens": 1}))).await;
    assert_eq!(agent.state("one").await, "ready");
    assert_eq!(agent.state("two").await, "idle");
}

fn text(data: &Value) -> String {
    text_of(&data["text"])
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_generated_text_is_kept_with_what_makes_it_again() {
    let agent = Agent::start(&["one"], "").await;
    let body = json!({"prompt": "Once upon a time", "max_tokens": 12, "temperature": 1.2, "seed": 7});
    let (status, first) = agent.ask("POST", "/text/gen", &body.to_string()).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!((&first["model"], &first["seed"]), (&json!("one"), &json!(7)));
    let (_, asset) = agent.ask("GET", first["asset"].as_str().expect("asset"), "").await;
    let (_, second) = agent.ask("POST", "/text/gen", &asset["parameters"].to_string()).await;
    assert_eq!(second["text"], first["text"], "the kept parameters give the same text");

    let path = format!("{}/file", first["asset"].as_str().expect("asset"));
    let response = agent.send("GET", &path, "").await;
    assert!(response.headers()["content-disposition"].to_str().expect("header").starts_with("attachment"));
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.expect("body").to_bytes();
    assert_eq!(String::from_utf8_lossy(&bytes), first["text"].as_str().expect("text"));

    let (_, listed) = agent.ask("GET", "/api/v1/assets?kind=text", "").await;
    let ids: Vec<&Value> =
        listed["assets"].as_array().expect("assets").iter().map(|asset| &asset["id"]).collect();
    assert_eq!(ids, [&second["id"], &first["id"]], "newest first");
    let (_, pinned) = agent.ask("PATCH", first["asset"].as_str().expect("asset"), "{\"pinned\":true}").await;
    assert_eq!(pinned["pinned"], true);
    let gone = agent.send("DELETE", first["asset"].as_str().expect("asset"), "").await;
    assert_eq!(gone.status().as_u16(), 204);
    let (status, problem) = agent.ask("GET", first["asset"].as_str().expect("asset"), "").await;
    assert_eq!((status, &problem["type"]), (404, &json!("asset-not-found")));
}
