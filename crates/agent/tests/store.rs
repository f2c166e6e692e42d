//! The store over HTTP: uploads in pieces, imports from the box and from a hub, options, removal.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{ADMIN_KEY, Agent, KEY, endless_model, parsed};

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn put(agent: &Agent, upload: &str, offset: usize, bytes: &[u8]) -> (u16, Value) {
    let path = format!("/api/v1/models/uploads/{upload}?offset={offset}");
    parsed(agent.send_as(Some(ADMIN_KEY), "PUT", &path, bytes).await).await
}

/// Waits for the end of an import.
async fn ended(agent: &Agent, import: &Value) -> Value {
    let path = format!("/api/v1/models/imports/{}", import["import"].as_str().expect("id"));
    let last = std::sync::Mutex::new(Value::Null);
    agent
        .until("the import ends", async || {
            let (_, told) = agent.manage("GET", &path, "").await;
            let over = told["state"] == "done" || told["state"] == "failed";
            *last.lock().expect("lock") = told;
            over
        })
        .await;
    last.into_inner().expect("lock")
}

#[tokio::test]
async fn a_model_is_uploaded_in_pieces_and_answers() {
    let agent = Agent::start(&["one"], "").await;
    let content = endless_model();
    let announce =
        json!({"file_name": "New Model.gguf", "size_bytes": content.len(), "sha256": digest(&content)});
    let (status, reply) = agent.ask("POST", "/api/v1/models/uploads", &announce.to_string()).await;
    assert_eq!((status, &reply["type"]), (403, &json!("missing-scope")), "{reply}");
    let (status, upload) = agent.manage("POST", "/api/v1/models/uploads", &announce.to_string()).await;
    assert_eq!((status, &upload["id"]), (201, &json!("new-model")), "{upload}");
    let id = upload["upload"].as_str().expect("id").to_owned();
    // Somebody else who adds the same is told of it.
    let (status, reply) = agent.manage("POST", "/api/v1/models/uploads", &announce.to_string()).await;
    assert_eq!((status, &reply["upload"]), (409, &json!(id)), "{reply}");
    let third = content.len() / 3;
    assert_eq!(put(&agent, &id, 0, &content[..third]).await.1["received_bytes"], third);
    let (status, reply) = put(&agent, &id, 0, &content[..third]).await;
    assert_eq!((status, &reply["received_bytes"]), (409, &json!(third)), "{reply}");
    let (status, _) = agent.manage("POST", &format!("/api/v1/models/uploads/{id}/finish"), "").await;
    assert_eq!(status, 409, "not all of it is there");
    // A body larger than any question.
    assert!(content.len() - third > 100_000);
    put(&agent, &id, third, &content[third..]).await;
    let (status, model) = agent.manage("POST", &format!("/api/v1/models/uploads/{id}/finish"), "").await;
    assert_eq!((status, &model["id"]), (201, &json!("new-model")), "{model}");
    let body =
        json!({"model": "new-model", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2});
    let (status, reply) = agent.ask("POST", "/v1/chat/completions", &body.to_string()).await;
    assert_eq!(status, 200, "{reply}");

    let (status, shown) = agent.manage("GET", "/api/v1/models/new-model?context=512&slots=1", "").await;
    assert_eq!((status, &shown["gguf"]["architecture"]), (200, &json!("llama")), "{shown}");
    let estimate = &shown["estimate"];
    assert_eq!((&estimate["context_tokens"], &estimate["slots"]), (&json!(512), &json!(1)), "{shown}");
    let sum =
        ["weights_bytes", "cache_bytes", "compute_bytes"].map(|name| estimate[name].as_u64().expect("bytes"));
    assert_eq!(estimate["total_bytes"], sum.iter().sum::<u64>(), "{shown}");
    let (status, reply) = agent.manage("POST", "/api/v1/models/new-model/verify", "").await;
    assert_eq!((status, &reply["ok"]), (200, &json!(true)), "{reply}");
}

#[tokio::test]
async fn a_detector_is_added_like_any_model_and_writes_nothing() {
    let agent = Agent::start(&["one"], "").await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/shapes/shapes.onnx");
    let content = std::fs::read(path).expect("part of the repository");
    let add = async |id: &str, content: &[u8]| {
        let announce = json!({"id": id, "file_name": "My Shapes.ONNX", "size_bytes": content.len()});
        let (status, upload) = agent.manage("POST", "/api/v1/models/uploads", &announce.to_string()).await;
        assert_eq!(status, 201, "{upload}");
        let upload = upload["upload"].as_str().expect("id").to_owned();
        put(&agent, &upload, 0, content).await;
        agent.manage("POST", &format!("/api/v1/models/uploads/{upload}/finish"), "").await
    };
    let (status, reply) = add("cut", &content[..content.len() / 2]).await;
    assert!((400..500).contains(&status), "{reply}");
    assert!(reply["detail"].as_str().is_some_and(|text| text.contains("no detector")), "{reply}");
    let (status, model) = add("own", &content).await;
    assert_eq!((status, &model["id"]), (201, &json!("own")), "{model}");
    assert!(agent.model_folder("own").join("own.onnx").exists());
    let body = json!({"model": "own", "messages": [{"role": "user", "content": "Hi"}]}).to_string();
    let (status, reply) = agent.ask("POST", "/v1/chat/completions", &body).await;
    assert_eq!(status, 503, "{reply}");
    assert!(reply["error"]["message"].as_str().is_some_and(|text| text.contains("/v1/detection")), "{reply}");
    let (_, listed) = agent.ask("GET", "/v1/models", "").await;
    assert!(!listed.to_string().contains("\"own\""), "it is no language model: {listed}");
    assert_eq!(agent.manage("DELETE", "/api/v1/models/own", "").await.0, 204);
}

#[tokio::test]
async fn what_cannot_be_a_model_is_refused_and_leaves_nothing() {
    let agent = Agent::start(&["one"], "").await;
    for (announce, status) in [
        (json!({"file_name": "x.gguf", "size_bytes": 0}), 422),
        (json!({"file_name": "x.gguf", "size_bytes": 4, "id": "../x"}), 422),
        (json!({"file_name": "one.gguf", "size_bytes": 4}), 409),
        (json!({"file_name": "x.gguf", "size_bytes": 1_u64 << 60}), 507),
    ] {
        let (got, reply) = agent.manage("POST", "/api/v1/models/uploads", &announce.to_string()).await;
        assert_eq!(got, status, "{announce}: {reply}");
    }
    let announce = json!({"file_name": "bad.gguf", "size_bytes": 5});
    let (_, upload) = agent.manage("POST", "/api/v1/models/uploads", &announce.to_string()).await;
    let id = upload["upload"].as_str().expect("id").to_owned();
    assert_eq!(put(&agent, &id, 0, b"more than that").await.0, 413);
    assert_eq!(put(&agent, &id, 0, b"GGUF?").await.0, 200);
    let (status, reply) = agent.manage("POST", &format!("/api/v1/models/uploads/{id}/finish"), "").await;
    assert_eq!((status, &reply["type"]), (422, &json!("model_refused")), "{reply}");
    assert_eq!(agent.manage("DELETE", &format!("/api/v1/models/uploads/{id}"), "").await.0, 204);
    let (_, uploads) = agent.manage("GET", "/api/v1/models/uploads", "").await;
    assert_eq!(uploads["uploads"], json!([]), "{uploads}");
}

#[tokio::test]
async fn a_file_on_the_box_is_imported_copied_and_removed() {
    let agent = Agent::start(&["one"], "").await;
    let file = agent.root().join("stick.gguf");
    std::fs::write(&file, endless_model()).expect("file");
    let (status, import) =
        agent.manage("POST", "/api/v1/models/import", &json!({"path": file}).to_string()).await;
    assert_eq!(status, 202, "{import}");
    let done = ended(&agent, &import).await;
    assert_eq!((&done["state"], &done["id"]), (&json!("done"), &json!("stick")), "{done}");
    let (_, import) = agent.manage("POST", "/api/v1/models/import", "{\"path\":\"/nowhere/x.gguf\"}").await;
    let failed = ended(&agent, &import).await;
    assert!(failed["reason"].as_str().is_some_and(|text| text.contains("/nowhere")), "{failed}");

    let copy = json!({"source": "stick", "destination": "stick:two"}).to_string();
    assert_eq!(agent.manage("POST", "/api/copy", &copy).await.0, 200);
    assert_eq!(agent.manage("DELETE", "/api/delete", "{\"model\":\"stick\"}").await.0, 200);
    let (_, list) = agent.manage("GET", "/api/v1/models", "").await;
    let ids: Vec<&str> =
        list["models"].as_array().expect("models").iter().filter_map(|m| m["id"].as_str()).collect();
    assert_eq!(ids, ["one", "stick-two"], "{list}");

    // One that is in use stays, unless it is forced.
    let body = json!({"model": "stick-two", "messages": [{"role": "user", "content": "Hi"}], "stream": true, "max_tokens": 100_000, "context_full": "shift"});
    let mut stream = support::Events::of(agent.send("POST", "/v1/chat/completions", &body.to_string()).await);
    stream.next().await.expect("begun");
    let (status, reply) = agent.manage("DELETE", "/api/v1/models/stick-two", "").await;
    assert_eq!((status, &reply["type"]), (409, &json!("in-use")), "{reply}");
    assert_eq!(agent.manage("DELETE", "/api/v1/models/stick-two?force=true", "").await.0, 204);
    let end = stream.rest().await.pop().expect("an end");
    assert!(end.data.contains("error"), "{}", end.data);
}

#[tokio::test]
async fn a_model_removed_while_it_loads_costs_its_requests_only() {
    let agent = Agent::start(&["one", "two"], "").await;
    let body = |model: &str| {
        json!({"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}).to_string()
    };
    let (one, force) = (body("one"), "/api/v1/models/one?force=true");
    let asked = agent.ask("POST", "/v1/chat/completions", &one);
    let removed = agent.manage("DELETE", force, "");
    let ((status, reply), (gone, told)) = tokio::join!(asked, removed);
    // Whoever is first: an answer or a clear error, and the model is gone.
    assert!([200, 404, 502, 503].contains(&status), "{reply}");
    assert_eq!(gone, 204, "{told}");
    agent.until("its runner is gone", async || agent.runner("one").is_none()).await;
    let (status, reply) = agent.ask("POST", "/v1/chat/completions", &one).await;
    assert_eq!(status, 404, "{reply}");
    let (status, reply) = agent.ask("POST", "/v1/chat/completions", &body("two")).await;
    assert_eq!(status, 200, "{reply}");
}

#[tokio::test]
async fn the_owners_wishes_are_kept_and_take_effect() {
    let agent = Agent::start(&["one"], "").await;
    let wish = json!({"pinned": true, "options": {"context_tokens": 256, "temperature": 0.5, "system": "Be brief."}});
    let (status, reply) = agent.manage("PATCH", "/api/v1/models/one", &wish.to_string()).await;
    assert_eq!((status, &reply["pinned"]), (200, &json!(true)), "{reply}");
    let long = "word ".repeat(300);
    let body = json!({"model": "one", "messages": [{"role": "user", "content": long}], "max_tokens": 1});
    let (status, reply) = agent.ask("POST", "/v1/chat/completions", &body.to_string()).await;
    assert_eq!(status, 400, "{reply}");
    let message = reply["error"]["message"].as_str().expect("message");
    assert!(message.contains("256") && message.contains("tokens"), "{message}");
    let (_, running) = agent.manage("GET", "/api/v1/models/running", "").await;
    assert_eq!(
        (&running["running"][0]["id"], &running["running"][0]["pinned"]),
        (&json!("one"), &json!(true)),
        "{running}"
    );
    assert!(running["budget"]["used_bytes"].as_u64() > Some(0), "{running}");
    for wrong in
        [json!({"options": {"temperature": 9}}), json!({"options": {"colour": 1}}), json!({"size": 1})]
    {
        let (status, reply) = agent.manage("PATCH", "/api/v1/models/one", &wrong.to_string()).await;
        assert!(status == 422 || status == 400, "{wrong}: {status} {reply}");
    }
    assert_eq!(agent.manage("POST", "/api/v1/models/one/unload", "").await.0, 204);
    assert_eq!(agent.state("one").await, "idle");
}

/// A hub that breaks the first download in the middle.
struct Hub {
    file: &'static str,
    content: Vec<u8>,
    downloads: AtomicU32,
}

async fn tree(State(hub): State<Arc<Hub>>) -> axum::Json<Value> {
    let size = hub.content.len();
    axum::Json(json!([
        {"type": "file", "path": "README.md", "size": 10},
        {"type": "file", "path": hub.file, "size": size, "lfs": {"oid": digest(&hub.content), "size": size}},
    ]))
}

async fn resolve(State(hub): State<Arc<Hub>>, Path(_): Path<String>, headers: HeaderMap) -> Response {
    let number = hub.downloads.fetch_add(1, Ordering::SeqCst);
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let from: usize = range
        .map_or(0, |text| text.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a range"));
    let rest = hub.content[from..].to_vec();
    let status = if from > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let whole = hub.content.len();
    let length = [
        (header::CONTENT_LENGTH, rest.len().to_string()),
        (header::CONTENT_RANGE, format!("bytes {from}-{}/{whole}", whole - 1)),
    ];
    if number > 0 {
        return (status, length, rest).into_response();
    }
    let half = rest[..rest.len() / 2].to_vec();
    let pieces = futures::stream::iter([Ok(half), Err(std::io::Error::other("the cable was pulled"))]);
    (status, length, Body::from_stream(pieces)).into_response()
}

/// A hub whose SmolLM2 has this content.
async fn hub(content: Vec<u8>) -> (String, Arc<Hub>) {
    hub_of("HuggingFaceTB/SmolLM2-360M-Instruct-GGUF", "smollm2-360m-instruct-q8_0.gguf", content).await
}

/// A hub with one file.
async fn hub_of(repository: &str, file: &'static str, content: Vec<u8>) -> (String, Arc<Hub>) {
    let hub = Arc::new(Hub { file, content, downloads: AtomicU32::new(0) });
    let router = Router::new()
        .route(&format!("/api/models/{repository}/tree/main"), get(tree))
        .route(&format!("/{repository}/resolve/main/{{file}}"), get(resolve))
        .with_state(Arc::clone(&hub));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), hub)
}

#[tokio::test]
async fn a_model_of_the_catalog_is_pulled_and_gone_on_with_after_a_break() {
    let (address, hub) = hub(endless_model()).await;
    let agent = Agent::start(&["one"], &format!("hub = {address:?}\n")).await;
    let (_, catalog) = agent.manage("GET", "/api/v1/models/catalog", "").await;
    let entries = catalog["models"].as_array().expect("models");
    assert!(
        entries.iter().any(|entry| entry["suggested"] == true && entry["why"]["es"].is_string()),
        "{catalog}"
    );
    let (status, reply) =
        agent.manage("POST", "/api/pull", "{\"model\":\"smollm2:360m\",\"stream\":false}").await;
    assert_eq!((status, &reply["status"]), (200, &json!("success")), "{reply}");
    assert_eq!(hub.downloads.load(Ordering::SeqCst), 2, "broken once, gone on with once");
    let (_, shown) = agent.manage("GET", "/api/v1/models/smollm2-360m", "").await;
    assert_eq!(
        (&shown["licence"], &shown["sha256"]),
        (&json!("Apache-2.0"), &json!(digest(&hub.content))),
        "{shown}"
    );
    assert_eq!(shown["roles"], json!(["general"]), "{shown}");
    let (status, reply) = agent.manage("POST", "/api/v1/models/import", "{\"catalog\":\"nothing\"}").await;
    assert_eq!(status, 404, "{reply}");
    let body =
        parsed(agent.send_as(Some(KEY), "POST", "/api/pull", b"{\"model\":\"qwen3-0.6b\"}").await).await;
    assert_eq!(body.0, 403, "{}", body.1);
}

/// A file that is another one from the second download on; the first breaks in the middle.
async fn changing(State(asked): State<Arc<AtomicU32>>, headers: HeaderMap) -> Response {
    let number = asked.fetch_add(1, Ordering::SeqCst);
    let content = endless_model();
    let tag = if number < 2 { "\"first\"" } else { "\"second\"" };
    assert!(headers.get(header::IF_RANGE).is_none_or(|tag| tag == "\"first\""), "as it was told");
    let told = [(header::CONTENT_LENGTH, content.len().to_string()), (header::ETAG, tag.to_owned())];
    if number != 1 {
        return (told, content).into_response();
    }
    let half = content[..content.len() / 2].to_vec();
    let pieces = futures::stream::iter([Ok(half), Err(std::io::Error::other("the cable was pulled"))]);
    (told, Body::from_stream(pieces)).into_response()
}

#[tokio::test]
async fn a_download_is_not_gone_on_with_from_a_file_that_has_changed() {
    let asked = Arc::<AtomicU32>::default();
    let router = Router::new().route("/model.gguf", get(changing)).with_state(Arc::clone(&asked));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = format!("http://{}/model.gguf", listener.local_addr().expect("address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let agent = Agent::start(&[], "").await;
    let wish = json!({"url": address}).to_string();
    let (_, import) = agent.manage("POST", "/api/v1/models/import", &wish).await;
    let failed = ended(&agent, &import).await;
    assert!(failed["reason"].as_str().is_some_and(|text| text.contains("has changed")), "{failed}");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let (_, uploads) = agent.manage("GET", "/api/v1/models/uploads", "").await;
    assert_eq!(uploads["uploads"], json!([]), "half of the first file is gone: {uploads}");
    let (_, import) = agent.manage("POST", "/api/v1/models/import", &wish).await;
    assert_eq!(ended(&agent, &import).await["state"], "done");
}

#[tokio::test]
async fn a_detector_of_the_catalog_comes_into_the_store_as_one() {
    const PLACE: (&str, &str) = ("opencv/object_detection_yolox", "object_detection_yolox_2022nov.onnx");
    let shapes = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/shapes/shapes.onnx");
    let (address, hub) = hub_of(PLACE.0, PLACE.1, std::fs::read(shapes).expect("the detector")).await;
    let agent = Agent::start(&["one"], &format!("hub = {address:?}\n")).await;
    let (_, catalog) = agent.manage("GET", "/api/v1/models/catalog", "").await;
    let entries = catalog["models"].as_array().expect("models");
    let entry = entries.iter().find(|entry| entry["id"] == "yolox-s").expect("a detector");
    assert_eq!((&entry["kind"], &entry["input"]), (&json!("detector"), &json!([640, 640])), "{entry}");
    assert_eq!((&entry["kv_kib"], &entry["roles"]), (&Value::Null, &json!([])), "{entry}");
    assert!(entry["needs_bytes"].as_u64() > entry["size_bytes"].as_u64(), "{entry}");
    assert!(entries.iter().any(|entry| entry["kind"] == "language" && entry["input"].is_null()), "{catalog}");
    let (_, import) = agent.manage("POST", "/api/v1/models/import", "{\"catalog\":\"yolox-s\"}").await;
    let done = ended(&agent, &import).await;
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(hub.downloads.load(Ordering::SeqCst), 2, "broken once, gone on with once");
    let (_, shown) = agent.manage("GET", "/api/v1/models/yolox-s", "").await;
    assert_eq!((&shown["kind"], &shown["licence"]), (&json!("detector"), &json!("Apache-2.0")), "{shown}");
    assert_eq!(shown["sha256"], json!(digest(&hub.content)), "{shown}");
    assert!(agent.model_folder("yolox-s").join("yolox-s.onnx").exists());
    let (_, catalog) = agent.manage("GET", "/api/v1/models/catalog", "").await;
    let here = catalog["models"].as_array().expect("models").iter().find(|entry| entry["id"] == "yolox-s");
    assert_eq!(here.expect("a detector")["installed"], json!(true));
    let (status, reply) = agent.manage("POST", "/api/pull", "{\"model\":\"yolox-s\",\"stream\":false}").await;
    assert_eq!(status, 404, "Ollama's clients know no detectors: {reply}");
    // What is no detector is refused, whatever it is called.
    let (address, _hub) = hub_of(PLACE.0, PLACE.1, endless_model()).await;
    let agent = Agent::start(&["one"], &format!("hub = {address:?}\n")).await;
    let (_, import) = agent.manage("POST", "/api/v1/models/import", "{\"catalog\":\"yolox-s\"}").await;
    let failed = ended(&agent, &import).await;
    assert_eq!(failed["state"], "failed", "{failed}");
    assert!(failed["reason"].as_str().is_some_and(|text| text.contains("ONNX")), "{failed}");
}

#[tokio::test]
async fn a_hub_that_lies_or_is_gone_gives_a_reason_and_no_model() {
    let (address, hub) = hub(b"GGUF and then nothing that helps".to_vec()).await;
    let agent = Agent::start(&["one"], &format!("hub = {address:?}\n")).await;
    let (_, import) = agent.manage("POST", "/api/v1/models/import", "{\"catalog\":\"smollm2-360m\"}").await;
    let failed = ended(&agent, &import).await;
    assert_eq!(failed["state"], "failed", "{failed}");
    let (_, uploads) = agent.manage("GET", "/api/v1/models/uploads", "").await;
    assert_eq!(uploads["uploads"], json!([]), "what is no model is not kept: {uploads}");
    drop(hub);
    let agent = Agent::start(&["one"], "hub = \"http://127.0.0.1:9\"\n").await;
    let (_, import) = agent.manage("POST", "/api/v1/models/import", "{\"catalog\":\"smollm2-360m\"}").await;
    let failed = ended(&agent, &import).await;
    assert!(failed["reason"].as_str().is_some_and(|text| text.contains("online mode")), "{failed}");
}
