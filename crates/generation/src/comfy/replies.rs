//! What a ComfyUI server says, as far as it is used.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

/// Files of one graph that are looked at; more are left where they are.
const MOST_OUTPUTS: usize = 16;

/// `POST /prompt`.
#[derive(Debug, Deserialize)]
pub(super) struct Accepted {
    pub(super) prompt_id: String,
}

/// `POST /prompt` with status 400.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rejected {
    error: Value,
    node_errors: Value,
}

impl Rejected {
    /// One sentence: the error itself, then what is wrong with each node.
    pub(super) fn said(&self) -> String {
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let joined = |value: &Value| {
            let parts = [text(value, "message"), text(value, "details")];
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
        };
        let whole = self.error.as_str().map_or_else(|| joined(&self.error), str::to_owned);
        let nodes = self.node_errors.as_object().into_iter().flatten().map(|(id, node)| {
            let errors = node["errors"].as_array().into_iter().flatten().map(joined);
            let errors: Vec<String> = errors.filter(|error| !error.is_empty()).collect();
            format!("node {id} ({}): {}", text(node, "class_type"), errors.join("; "))
        });
        let parts: Vec<String> = [whole].into_iter().filter(|part| !part.is_empty()).chain(nodes).collect();
        if parts.is_empty() { "no reason was given".into() } else { parts.join("; ") }
    }
}

/// A file that a graph saved.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Output {
    pub(super) filename: String,
    #[serde(default)]
    pub(super) subfolder: String,
    /// `output` for what is kept, `temp` for previews.
    #[serde(rename = "type")]
    pub(super) place: String,
}

/// `GET /history/{id}`: the graphs that ended, by id.
pub(super) type History = HashMap<String, Ended>;

/// A graph that ended.
#[derive(Debug, Deserialize)]
pub(super) struct Ended {
    #[serde(default)]
    outputs: BTreeMap<String, Value>,
    #[serde(default)]
    status: Option<EndStatus>,
}

#[derive(Debug, Deserialize)]
struct EndStatus {
    #[serde(default)]
    status_str: String,
    #[serde(default)]
    messages: Vec<(String, Value)>,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Saved(Vec<Output>),
    Failed { node: String, said: String },
    Interrupted,
}

impl Ended {
    pub(super) fn end(self) -> End {
        let failed = self.status.as_ref().filter(|status| status.status_str == "error");
        if let Some(status) = failed {
            let said =
                |wanted: &str| status.messages.iter().find(|(kind, _)| kind == wanted).map(|(_, data)| data);
            return match said("execution_error") {
                Some(data) => failure(data),
                None if said("execution_interrupted").is_some() => End::Interrupted,
                None => failure(&Value::Null),
            };
        }
        // Lists of files have different names in different nodes: images, gifs, video.
        let lists = self.outputs.values().filter_map(Value::as_object).flat_map(|lists| lists.values());
        let files = lists.filter_map(Value::as_array).flatten();
        let files = files.filter_map(|file| serde_json::from_value(file.clone()).ok());
        End::Saved(files.filter(|file: &Output| file.place == "output").take(MOST_OUTPUTS).collect())
    }
}

/// What an `execution_error` says.
pub(super) fn failure(data: &Value) -> End {
    let text = |key: &str| data[key].as_str().map(actionbooster_http_client::quoted).unwrap_or_default();
    let or_unknown = |text: String| if text.is_empty() { "unknown".into() } else { text };
    End::Failed { node: or_unknown(text("node_type")), said: or_unknown(text("exception_message")) }
}

/// `GET /queue`. Each entry begins with its number and its id.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Queue {
    queue_running: Vec<Value>,
    queue_pending: Vec<Value>,
}

impl Queue {
    pub(super) fn runs(&self, id: &str) -> bool {
        self.queue_running.iter().any(|entry| entry[1] == id)
    }

    pub(super) fn holds(&self, id: &str) -> bool {
        self.runs(id) || self.queue_pending.iter().any(|entry| entry[1] == id)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.queue_running.is_empty() && self.queue_pending.is_empty()
    }
}

/// `GET /system_stats`.
#[derive(Debug, Deserialize)]
pub(super) struct Stats {
    #[serde(default)]
    pub(super) devices: Vec<Memory>,
}

/// Memory of the device that makes the images. Without a graphics card it is the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Memory {
    #[serde(rename = "vram_total")]
    pub(crate) total_bytes: u64,
    #[serde(rename = "vram_free")]
    pub(crate) free_bytes: u64,
}

/// The choices of an input in `GET /object_info/{node}`: a list, or the word `COMBO` with options.
pub(super) fn choices(info: &Value, node: &str, input: &str) -> Option<Vec<String>> {
    let described = &info[node]["input"]["required"][input];
    let list = described[0].as_array().or_else(|| described[1]["options"].as_array())?;
    Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn end(ended: Value) -> End {
        serde_json::from_value::<Ended>(ended).expect("parses").end()
    }

    #[test]
    fn what_a_graph_saved_is_found_and_previews_are_not() {
        let saved = end(json!({"outputs": {
            "9": {"images": [
                {"filename": "a.png", "subfolder": "s", "type": "output"},
                {"filename": "b.png", "subfolder": "", "type": "temp"},
            ], "animated": [false]},
            "12": {"gifs": [{"filename": "c.mp4", "type": "output"}], "text": ["x"]},
            "13": null,
        }, "status": {"status_str": "success", "completed": true, "messages": []}}));
        let file = |filename: &str, subfolder: &str| Output {
            filename: filename.into(),
            subfolder: subfolder.into(),
            place: "output".into(),
        };
        assert_eq!(saved, End::Saved(vec![file("c.mp4", ""), file("a.png", "s")]));
        assert_eq!(end(json!({"outputs": {}, "status": null})), End::Saved(vec![]));
    }

    #[test]
    fn how_a_graph_failed_is_told() {
        let ended = |messages: Value| end(json!({"status": {"status_str": "error", "messages": messages}}));
        let failed = |node: &str, said: &str| End::Failed { node: node.into(), said: said.into() };
        let error = json!({"node_type": "KSampler", "exception_message": "out of\nmemory"});
        assert_eq!(ended(json!([["execution_error", error]])), failed("KSampler", "out of memory"));
        assert_eq!(ended(json!([["execution_interrupted", {}]])), End::Interrupted);
        assert_eq!(ended(json!([])), failed("unknown", "unknown"));
    }

    #[test]
    fn a_refused_graph_is_explained_node_by_node() {
        let said = |rejected: Value| serde_json::from_value::<Rejected>(rejected).expect("parses").said();
        let whole = said(json!({
            "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation",
                "details": ""},
            "node_errors": {"4": {"class_type": "CheckpointLoaderSimple", "errors": [
                {"message": "Value not in list", "details": "ckpt_name: 'x' not in []"}]}},
        }));
        assert_eq!(
            whole,
            "Prompt outputs failed validation; node 4 (CheckpointLoaderSimple): Value not in list: \
             ckpt_name: 'x' not in []"
        );
        assert_eq!(said(json!({"error": "no prompt", "node_errors": []})), "no prompt");
        assert_eq!(said(json!({})), "no reason was given");
    }

    #[test]
    fn a_queue_knows_what_waits_and_what_runs() {
        let queue: Queue = serde_json::from_value(json!({
            "queue_running": [[0, "a", {}, {}, []]], "queue_pending": [[1, "b"], "odd"],
        }))
        .expect("parses");
        assert!(queue.runs("a") && queue.holds("a") && queue.holds("b"));
        assert!(!queue.runs("b") && !queue.holds("c"));
    }

    #[test]
    fn checkpoints_are_read_from_old_and_new_servers() {
        let node = "CheckpointLoaderSimple";
        for input in [json!([["a", "b"], {}]), json!(["COMBO", {"options": ["a", "b"]}])] {
            let info = json!({node: {"input": {"required": {"ckpt_name": input}}}});
            assert_eq!(choices(&info, node, "ckpt_name"), Some(vec!["a".into(), "b".into()]));
        }
        assert_eq!(choices(&json!({}), node, "ckpt_name"), None);
    }
}
