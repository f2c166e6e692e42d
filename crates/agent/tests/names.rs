//! What strangers send as names: it costs no memory that stays, and no log.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use serde_json::json;
use support::{ADMIN_KEY, Agent, parsed};

/// Nearly all that a body may hold.
const LONG: usize = 3_900_000;

#[tokio::test]
async fn names_of_millions_of_letters_are_answered_and_logged_in_a_line_and_become_no_label() {
    let folder = tempfile::tempdir().expect("folder");
    let log = std::fs::File::create(folder.path().join("log")).expect("log");
    let agent = Agent::start_talkative(&["one"], "", &log).await;
    let name = "m".repeat(LONG);
    let messages = json!([{"role": "user", "content": "hi"}]);
    let requests = [
        ("POST", "/v1/chat/completions", json!({"model": name, "messages": messages})),
        ("POST", "/v1/completions", json!({"model": name, "prompt": "hi"})),
        ("POST", "/v1/embeddings", json!({"model": name, "input": "hi"})),
        ("POST", "/v1/messages", json!({"model": name, "max_tokens": 5, "messages": messages})),
        ("POST", "/api/chat", json!({"model": name, "messages": messages})),
        ("POST", "/api/chat", json!({"model": name, "messages": [], "keep_alive": 0})),
        ("POST", "/api/generate", json!({"model": name, "prompt": "hi"})),
        ("POST", "/api/embed", json!({"model": name, "input": "hi"})),
        ("POST", "/api/show", json!({"model": name})),
        ("POST", "/api/pull", json!({"model": name})),
        ("POST", "/api/copy", json!({"source": name, "destination": "x"})),
        ("DELETE", "/api/delete", json!({"model": name})),
        ("POST", "/query", json!({"prompt": "hi", "models": [name]})),
        ("POST", "/text/gen", json!({"prompt": "hi", "model": name})),
    ];
    let size = || std::fs::metadata(folder.path().join("log")).expect("log").len();
    for (method, path, body) in requests {
        let before = size();
        let answer = agent.send_as(Some(ADMIN_KEY), method, path, body.to_string().as_bytes()).await;
        let (status, reply) = parsed(answer).await;
        let told = reply.to_string().len();
        assert!(status == 404 && told < 1000, "{path}: {status}, {told} bytes");
        let logged = size() - before;
        assert!(logged < 20_000, "{path}: {logged} bytes of log");
    }
    let body = json!({"model": "one", "messages": [{"role": name, "content": "hi"}]});
    for path in ["/v1/chat/completions", "/api/chat"] {
        let (status, reply) = agent.ask("POST", path, &body.to_string()).await;
        assert!(status == 400 && reply.to_string().len() < 10_000, "{path}: {status}");
    }
    // Those who leave at once are counted before anything is known of the model.
    for _ in 0..20 {
        let body = json!({"model": name, "messages": messages}).to_string();
        let asked = agent.send("POST", "/v1/chat/completions", &body);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(8), asked).await;
    }
    let metrics = agent.send_as(Some(ADMIN_KEY), "GET", "/metrics", b"").await;
    let metrics = http_body_util::BodyExt::collect(metrics.into_body()).await.expect("body").to_bytes();
    let longest = String::from_utf8_lossy(&metrics).lines().map(str::len).max();
    assert!(longest.is_some_and(|length| length < 300), "a line of {longest:?} bytes");
}
