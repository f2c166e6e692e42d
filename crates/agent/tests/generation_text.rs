//! Texts by models of other servers, over Ollama's protocol and OpenAI's.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{ADMIN_KEY, Agent, KEY, URGENT_KEY, parsed};
use tokio::task::JoinHandle;

/// Path, authorization and body of each request.
type Heard = Arc<Mutex<Vec<(String, Option<String>, Value)>>>;

/// A server that speaks both protocols. Its model echoes the prompt.
struct Server {
    address: String,
    heard: Heard,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let heard = Heard::default();
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&heard));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = format!("http://{}", listener.local_addr().expect("address"));
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.expect("serves") });
        Self { address, heard, serving }
    }

    fn last(&self) -> (String, Option<String>, Value) {
        self.heard.lock().expect("heard").last().expect("a request").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(heard): State<Heard>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let key = request.headers().get("authorization").map(|key| key.to_str().expect("text").to_owned());
    let bytes = request.into_body().collect().await.expect("body").to_bytes();
    let body: Value = serde_json::from_slice(&bytes).expect("json");
    heard.lock().expect("heard").push((path.clone(), key, body.clone()));
    let last = body["messages"].as_array().and_then(|messages| messages.last()).expect("a message");
    let text = format!("You said: {}", last["content"].as_str().expect("text"));
    match (path.as_str(), body["model"].as_str().expect("model")) {
        (_, "endless") => {
            let chunk = Bytes::from(vec![b' '; 1 << 20]);
            let whole = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(Bytes::clone(&chunk)));
            Body::from_stream(whole).into_response()
        }
        (_, "page") => "<html>".into_response(),
        ("/api/chat", "org/small:1b") => Json(json!({
            "model": "org/small:1b", "message": {"role": "assistant", "content": text}, "done": true,
            "prompt_eval_count": 11, "eval_count": 5,
        }))
        .into_response(),
        ("/api/chat", other) => {
            let error = json!({"error": format!("model '{other}' not found")});
            (StatusCode::NOT_FOUND, Json(error)).into_response()
        }
        ("/v1/chat/completions", "large") => Json(json!({
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }))
        .into_response(),
        _ => {
            let error = json!({"error": {"message": "Incorrect API key", "type": "invalid_request_error"}});
            (StatusCode::UNAUTHORIZED, Json(error)).into_response()
        }
    }
}

fn entry(name: &str, kind: &str, url: &str, more: &str) -> String {
    format!("[[gateway.text_servers]]\nname = {name:?}\nkind = {kind:?}\nurl = {url:?}\n{more}\n")
}

async fn write(agent: &Agent, model: &str) -> (u16, Value) {
    let body = json!({"prompt": "Hola", "system": "Echo.", "model": model, "seed": 9, "temperature": 0.5,
        "max_tokens": 64});
    agent.ask("POST", "/text/gen", &body.to_string()).await
}

#[tokio::test]
async fn other_servers_write_and_what_they_wrote_is_kept() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let key = folder.path().join("key");
    std::fs::write(&key, "sk-secret\n").expect("key");
    let versioned = format!("{}/v1", server.address);
    let config = [
        entry("den", "ollama", &server.address, ""),
        entry("cloud", "openai", &server.address, &format!("key_file = {:?}", key.display().to_string())),
        entry("cloud1", "openai", &versioned, ""),
    ];
    let agent = Agent::start(&[], &config.concat()).await;

    let (status, reply) = write(&agent, "den/org/small:1b").await;
    assert_eq!((status, &reply["text"]), (200, &json!("You said: Hola")), "{reply}");
    assert_eq!((&reply["prompt_tokens"], &reply["generated_tokens"]), (&json!(11), &json!(5)), "{reply}");
    let messages = json!([{"role": "system", "content": "Echo."}, {"role": "user", "content": "Hola"}]);
    let (path, sent_key, body) = server.last();
    assert_eq!((path.as_str(), sent_key), ("/api/chat", None));
    assert_eq!(
        body,
        json!({"model": "org/small:1b", "messages": messages, "stream": false,
            "options": {"temperature": 0.5, "seed": 9, "num_predict": 64}}),
    );
    let (_, asset) = agent.ask("GET", reply["asset"].as_str().expect("asset"), "").await;
    assert_eq!(asset["parameters"]["model"], "den/org/small:1b");

    let (status, reply) = write(&agent, "cloud/large").await;
    assert_eq!((status, &reply["model"]), (200, &json!("cloud/large")), "{reply}");
    assert_eq!((&reply["prompt_tokens"], &reply["generated_tokens"]), (&json!(3), &json!(2)), "{reply}");
    let (path, sent_key, body) = server.last();
    assert_eq!((path.as_str(), sent_key.as_deref()), ("/v1/chat/completions", Some("Bearer sk-secret")));
    assert_eq!((&body["messages"], &body["max_tokens"], &body["seed"]), (&messages, &json!(64), &json!(9)));
    assert_eq!(write(&agent, "cloud1/large").await.0, 200);
    assert_eq!(server.last().0, "/v1/chat/completions", "the version is not doubled");

    // A key that is gone is named by its file, and no key is ever repeated.
    std::fs::remove_file(&key).expect("removed");
    let (status, reply) = write(&agent, "cloud/large").await;
    let detail = reply["detail"].as_str().expect("detail");
    assert!(status == 502 && detail.contains(&key.display().to_string()), "{status}: {reply}");
}

#[tokio::test]
async fn what_a_key_had_made_is_there_for_itself_and_the_owner_only() {
    let server = Server::start().await;
    let agent = Agent::start(&[], &entry("den", "ollama", &server.address, "")).await;
    let (status, reply) = write(&agent, "den/org/small:1b").await;
    assert_eq!(status, 200, "{reply}");
    let path = reply["asset"].as_str().expect("asset");
    let file = format!("{path}/file");
    let as_key = async |key: &str, method: &str, path: &str, body: &str| {
        agent.send_as(Some(key), method, path, body.as_bytes()).await
    };
    let cases =
        [("GET", path, ""), ("GET", &file, ""), ("PATCH", path, "{\"pinned\":true}"), ("DELETE", path, "")];
    for (method, path, body) in cases {
        let (status, told) = parsed(as_key(URGENT_KEY, method, path, body).await).await;
        assert_eq!((status, &told["type"]), (404, &json!("asset-not-found")), "{method} {path}: {told}");
    }
    for (key, seen) in [(URGENT_KEY, 0), (KEY, 1), (ADMIN_KEY, 1)] {
        let (_, told) = parsed(as_key(key, "GET", "/api/v1/assets", "").await).await;
        assert_eq!(told["assets"].as_array().map(Vec::len), Some(seen), "{key}: {told}");
    }
    assert_eq!(as_key(KEY, "PATCH", path, "{\"pinned\":true}").await.status(), 200);
    assert_eq!(as_key(ADMIN_KEY, "DELETE", path, "").await.status(), 204);
}

#[tokio::test]
async fn what_other_servers_do_wrong_is_told_with_their_name_and_address() {
    let server = Server::start().await;
    let gone = "http://127.0.0.1:9";
    let config = [
        entry("den", "ollama", &server.address, ""),
        entry("cloud", "openai", &server.address, ""),
        entry("gone", "ollama", gone, ""),
    ];
    let agent = Agent::start(&["one"], &config.concat()).await;
    let address = server.address.as_str();
    let cases = [
        ("den/none", 502, vec!["den", address, "model 'none' not found"]),
        ("cloud/none", 502, vec!["cloud", address, "401", "Incorrect API key"]),
        ("den/endless", 502, vec![address, "larger than"]),
        ("den/page", 502, vec![address, "holds no text", "`kind`"]),
        ("gone/x", 503, vec!["gone", gone, "see that it runs"]),
        ("dne/x", 404, vec!["there are den, cloud, gone"]),
        ("den/", 404, vec!["den/<model>"]),
        ("two", 404, vec!["there are one"]),
    ];
    for (model, expected, parts) in cases {
        let (status, reply) = write(&agent, model).await;
        assert_eq!(status, expected, "{model}: {reply}");
        for part in parts {
            assert!(reply["detail"].as_str().is_some_and(|detail| detail.contains(part)), "{part}: {reply}");
        }
    }
    let (_, kept) = agent.ask("GET", "/api/v1/assets", "").await;
    assert_eq!(kept["assets"], json!([]), "what failed leaves nothing");
}
