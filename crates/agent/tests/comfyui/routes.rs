//! The routes of a ComfyUI server.

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Multipart, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{MP4, Output, PNG, Shared, Task, Websocket};

/// Nodes that this server knows.
const CLASSES: [&str; 14] = [
    "CheckpointLoaderSimple",
    "CLIPTextEncode",
    "EmptyLatentImage",
    "KSampler",
    "VAEDecode",
    "VAEEncode",
    "SaveImage",
    "LoadImage",
    "ImageScale",
    "RepeatLatentBatch",
    "ADE_StandardUniformContextOptions",
    "ADE_AnimateDiffLoaderGen1",
    "CreateVideo",
    "SaveVideo",
];

pub(super) fn routes(server: Shared) -> Router {
    Router::new()
        .route("/ws", get(websocket))
        .route("/prompt", post(prompt))
        .route("/history/{id}", get(history))
        .route("/queue", get(queue).post(change_queue))
        .route("/interrupt", post(interrupt))
        .route("/free", post(free))
        .route("/system_stats", get(stats))
        .route("/object_info/{class}", get(object_info))
        .route("/upload/image", post(upload))
        .route("/view", get(view))
        .with_state(server)
}

type Parameters = Query<HashMap<String, String>>;

async fn websocket(
    State(server): State<Shared>,
    Query(query): Parameters,
    upgrade: WebSocketUpgrade,
) -> Response {
    let after = match server.behaviour().websocket {
        Websocket::Refused => return StatusCode::FORBIDDEN.into_response(),
        Websocket::Works => usize::MAX,
        Websocket::Breaks(after) => after,
    };
    let (sender, receiver) = mpsc::unbounded_channel();
    server.inside().sockets.insert(query["clientId"].clone(), sender);
    upgrade.on_upgrade(move |socket| pass(socket, receiver, after))
}

async fn pass(mut socket: WebSocket, mut messages: mpsc::UnboundedReceiver<String>, after: usize) {
    for _ in 0..after {
        let Some(message) = messages.recv().await else { return };
        // A preview before each message, as the real one sends them between.
        let preview = Message::Binary(Bytes::from_static(b"\0\0\0\x01\0\0\0\x01\xff\xd8"));
        for message in [preview, Message::Text(message.into())] {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    }
}

async fn prompt(State(server): State<Shared>, Json(body): Json<Value>) -> Response {
    let graph = body["prompt"].clone();
    let behaviour = server.behaviour();
    let mut inside = server.inside();
    inside.prompts.push(body.clone());
    for (id, node) in graph.as_object().expect("a graph") {
        let class = node["class_type"].as_str().expect("class");
        if !CLASSES.contains(&class) {
            let message = format!("Cannot execute because node {class} does not exist.");
            let details = format!("Node ID '#{id}'");
            let error = json!({"type": "invalid_prompt", "message": message, "details": details});
            return (StatusCode::BAD_REQUEST, Json(json!({"error": error, "node_errors": {}})))
                .into_response();
        }
        let checkpoint = node["inputs"]["ckpt_name"].as_str();
        let image = node["inputs"]["image"].as_str();
        let missing = checkpoint
            .filter(|name| !behaviour.checkpoints.contains(name))
            .or_else(|| image.filter(|name| !inside.uploads.contains_key(*name)));
        if let Some(name) = missing {
            let errors = json!([{"message": "Value not in list", "details": name}]);
            let error = json!({"message": "Prompt outputs failed validation", "details": ""});
            let node_errors = json!({id: {"class_type": class, "errors": errors}});
            let body = Json(json!({"error": error, "node_errors": node_errors}));
            return (StatusCode::BAD_REQUEST, body).into_response();
        }
    }
    let number = inside.prompts.len();
    let id = format!("00000000-0000-4000-8000-{number:012}");
    let client = body["client_id"].as_str().unwrap_or_default().to_owned();
    inside.pending.push_back(Task { id: id.clone(), number, client, graph });
    drop(inside);
    server.queued.notify_one();
    Json(json!({"prompt_id": id, "number": number, "node_errors": {}})).into_response()
}

async fn history(State(server): State<Shared>, Path(id): Path<String>) -> Json<Value> {
    let inside = server.inside();
    Json(inside.history.get(&id).map_or_else(|| json!({}), |entry| json!({id: entry})))
}

async fn queue(State(server): State<Shared>) -> Json<Value> {
    let inside = server.inside();
    let entry = |task: &Task| json!([task.number, task.id, task.graph, {"client_id": task.client}, []]);
    let running: Vec<Value> = inside.running.iter().map(entry).collect();
    let pending: Vec<Value> = inside.pending.iter().map(entry).collect();
    Json(json!({"queue_running": running, "queue_pending": pending}))
}

async fn change_queue(State(server): State<Shared>, Json(body): Json<Value>) {
    let mut inside = server.inside();
    for id in body["delete"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        inside.pending.retain(|task| task.id != id);
        inside.deleted.push(id.to_owned());
    }
}

async fn interrupt(State(server): State<Shared>, Json(body): Json<Value>) {
    let mut inside = server.inside();
    let ours = inside.running.as_ref().is_some_and(|task| body["prompt_id"] == task.id.as_str());
    inside.interrupted |= ours || body.get("prompt_id").is_none();
    inside.interrupts.push(body);
}

async fn free(State(server): State<Shared>, Json(body): Json<Value>) {
    if body["unload_models"] == true {
        server.inside().freed += 1;
    }
}

async fn stats(State(server): State<Shared>) -> Json<Value> {
    let behaviour = server.behaviour();
    let free = if server.inside().freed > 0 { behaviour.free.1 } else { behaviour.free.0 };
    Json(json!({
        "system": {"os": "posix", "comfyui_version": "0.3.75"},
        "devices": [{"name": "cuda:0", "type": "cuda", "index": 0, "vram_total": behaviour.total,
            "vram_free": free, "torch_vram_total": 0, "torch_vram_free": 0}],
    }))
}

async fn object_info(State(server): State<Shared>, Path(class): Path<String>) -> Json<Value> {
    if class != "CheckpointLoaderSimple" {
        return Json(json!({}));
    }
    let choices = json!([server.behaviour().checkpoints, {"tooltip": "The name of the checkpoint."}]);
    Json(json!({class: {"input": {"required": {"ckpt_name": choices}}, "output": ["MODEL", "CLIP", "VAE"]}}))
}

async fn upload(State(server): State<Shared>, mut form: Multipart) -> Json<Value> {
    let (mut file, mut fields) = (None, HashMap::new());
    while let Some(field) = form.next_field().await.expect("a form") {
        match field.name().expect("name").to_owned().as_str() {
            "image" => {
                let name = field.file_name().expect("file name").to_owned();
                file = Some((name, field.bytes().await.expect("bytes")));
            }
            other => {
                fields.insert(other.to_owned(), field.text().await.expect("text"));
            }
        }
    }
    assert_eq!(fields["type"], "input");
    let (name, bytes) = file.expect("an image");
    server.inside().uploads.insert(name.clone(), bytes.to_vec());
    Json(json!({"name": name, "subfolder": "", "type": "input"}))
}

async fn view(State(server): State<Shared>, Query(query): Parameters) -> Response {
    server.inside().views += 1;
    assert_eq!((query["type"].as_str(), query["subfolder"].as_str()), ("output", "actionbooster"));
    let body = if query["filename"].contains("animatediff") { MP4 } else { PNG };
    match server.behaviour().output {
        Output::Real => body.into_response(),
        Output::Html => "<html><script>alert(1)</script></html>".into_response(),
        Output::AnnouncedHuge => {
            let rest = futures::stream::pending::<Result<Bytes, std::io::Error>>();
            ([(header::CONTENT_LENGTH, "1099511627776")], Body::from_stream(rest)).into_response()
        }
        Output::Endless => {
            let chunk = Bytes::from(vec![b'x'; 1 << 20]);
            let whole = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(Bytes::clone(&chunk)));
            Body::from_stream(whole).into_response()
        }
    }
}
