//! Executes graphs one after another, and tells their clients.

use serde_json::{Value, json};

use super::{Shared, Task};

/// Executes what is queued, for ever.
pub(super) async fn execute(server: Shared) {
    loop {
        let task = {
            let mut inside = server.inside();
            let next = inside.pending.pop_front();
            inside.running.clone_from(&next);
            inside.interrupted = false;
            next
        };
        match task {
            Some(task) => run(&server, &task).await,
            None => server.queued.notified().await,
        }
    }
}

async fn run(server: &Shared, task: &Task) {
    let id = &task.id;
    let tell = |kind: &str, data: Value| {
        let message = json!({"type": kind, "data": data}).to_string();
        if let Some(socket) = server.inside().sockets.get(&task.client) {
            // A client that left hears nothing.
            let _gone = socket.send(message);
        }
    };
    tell("status", json!({"status": {"exec_info": {"queue_remaining": 1}}}));
    tell("execution_start", json!({"prompt_id": id, "timestamp": 0}));
    tell("execution_cached", json!({"nodes": [], "prompt_id": id, "timestamp": 0}));
    let (outputs, status) = match nodes(server, task, &tell).await {
        Ok(outputs) => {
            tell("execution_success", json!({"prompt_id": id, "timestamp": 0}));
            (outputs, json!({"status_str": "success", "completed": true, "messages": []}))
        }
        Err((kind, data)) => {
            tell(kind, data.clone());
            (json!({}), json!({"status_str": "error", "completed": false, "messages": [[kind, data]]}))
        }
    };
    {
        let mut inside = server.inside();
        let prompt = json!([task.number, id, task.graph, {"client_id": task.client}, []]);
        inside.history.insert(id.clone(), json!({"prompt": prompt, "outputs": outputs, "status": status}));
        inside.running = None;
    }
    tell("executing", json!({"node": null, "prompt_id": id}));
}

type Stopped = (&'static str, Value);

async fn nodes(server: &Shared, task: &Task, tell: &impl Fn(&str, Value)) -> Result<Value, Stopped> {
    let id = &task.id;
    let mut outputs = serde_json::Map::new();
    for (number, node) in task.graph.as_object().expect("a graph") {
        let class = node["class_type"].as_str().expect("class");
        tell("executing", json!({"node": number, "display_node": number, "prompt_id": id}));
        let behaviour = server.behaviour();
        if let Some((_, message)) = behaviour.fails.filter(|(failing, _)| *failing == class) {
            let data = json!({"prompt_id": id, "node_id": number, "node_type": class, "executed": [],
                "exception_message": message, "exception_type": "RuntimeError", "traceback": []});
            return Err(("execution_error", data));
        }
        if class == "KSampler" {
            let steps = node["inputs"]["steps"].as_u64().expect("steps");
            for step in 1..=steps {
                tokio::time::sleep(behaviour.step).await;
                if server.inside().interrupted {
                    let data =
                        json!({"prompt_id": id, "node_id": number, "node_type": class, "executed": []});
                    return Err(("execution_interrupted", data));
                }
                tell("progress", json!({"value": step, "max": steps, "prompt_id": id, "node": number}));
            }
        }
        let ending = match class {
            "SaveImage" => "png",
            "SaveVideo" => "mp4",
            _ => continue,
        };
        let prefix = node["inputs"]["filename_prefix"].as_str().expect("prefix");
        let (folder, name) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        let file =
            json!({"filename": format!("{name}_00001_.{ending}"), "subfolder": folder, "type": "output"});
        let output = json!({"images": [file], "animated": [ending == "mp4"]});
        tell("executed", json!({"node": number, "output": output, "prompt_id": id}));
        outputs.insert(number.clone(), output);
    }
    Ok(Value::Object(outputs))
}
