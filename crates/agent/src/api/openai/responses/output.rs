//! The output of a response, built of what the model says, with the events that tell of it.

use actionbooster_wire::runner::v1 as wire;
use serde_json::{Value, json};

use super::tools::{Tool, Tools};
use crate::api::openai::reply::tokens;

/// Items as they come. At most one is open.
pub(super) struct Output {
    tools: Tools,
    /// Calls told at most.
    most_calls: usize,
    calls: usize,
    done: Vec<Value>,
    open: Option<Open>,
}

/// The item that the model is at.
struct Open {
    kind: Kind,
    id: String,
    text: String,
    logprobs: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Thought,
    Text,
}

impl Output {
    pub(super) const fn new(tools: Tools, most_calls: usize) -> Self {
        Self { tools, most_calls, calls: 0, done: Vec::new(), open: None }
    }

    /// The items that are complete.
    pub(super) fn items(&self) -> &[Value] {
        &self.done
    }

    pub(super) fn text(&mut self, more: &wire::Text) -> Vec<Value> {
        let logprobs = tokens(&more.logprobs);
        self.more(Kind::Text, &more.text, logprobs)
    }

    pub(super) fn thought(&mut self, more: &str) -> Vec<Value> {
        self.more(Kind::Thought, more, Vec::new())
    }

    fn more(&mut self, kind: Kind, text: &str, logprobs: Vec<Value>) -> Vec<Value> {
        let mut events = Vec::new();
        if self.open.as_ref().is_none_or(|open| open.kind != kind) {
            events.extend(self.close("completed"));
            let open = Open { kind, id: id(kind.prefix()), text: String::new(), logprobs: Vec::new() };
            let mut item = open.item("in_progress");
            item["content"] = json!([]);
            events.push(self.event("response.output_item.added", &json!({"item": item})));
            events.push(self.within("response.content_part.added", &open, &json!({"part": open.part()})));
            self.open = Some(open);
        }
        let index = self.done.len();
        if let Some(open) = &mut self.open {
            open.text.push_str(text);
            let mut delta =
                json!({"delta": text, "item_id": open.id, "output_index": index, "content_index": 0});
            delta["type"] = format!("response.{}.delta", kind.word()).into();
            if kind == Kind::Text {
                delta["logprobs"] = json!(logprobs);
                open.logprobs.extend(logprobs);
            }
            events.push(delta);
        }
        events
    }

    pub(super) fn call(&mut self, call: &wire::ToolCall) -> Vec<Value> {
        if self.calls >= self.most_calls {
            return Vec::new();
        }
        self.calls += 1;
        let mut events = self.close("completed");
        let tool = self.tools.called(&call.name);
        let custom = tool.is_some_and(|tool| tool.custom);
        let (kind, field, text, telling, prefix) = if custom {
            let text = Tool::text(&call.arguments);
            ("custom_tool_call", "input", text, "custom_tool_call_input", "ctc")
        } else {
            ("function_call", "arguments", call.arguments.clone(), "function_call_arguments", "fc")
        };
        let id = id(prefix);
        let name = tool.map_or(call.name.as_str(), |tool| tool.name.as_str());
        let mut item = json!({"type": kind, "id": id, "call_id": self::id("call"), "name": name, "status": "in_progress"});
        if let Some(namespace) = tool.and_then(|tool| tool.namespace.as_deref()) {
            item["namespace"] = namespace.into();
        }
        item[field] = "".into();
        let index = self.done.len();
        let of_item = |event: &str, more: (&str, &str)| {
            let mut event =
                json!({"type": format!("response.{telling}.{event}"), "item_id": id, "output_index": index});
            event[more.0] = more.1.into();
            event
        };
        events.push(self.event("response.output_item.added", &json!({"item": item})));
        events.push(of_item("delta", ("delta", &text)));
        let mut done = of_item("done", (field, &text));
        done["name"] = name.into();
        events.push(done);
        item[field] = text.into();
        item["status"] = "completed".into();
        events.push(self.event("response.output_item.done", &json!({"item": item})));
        self.done.push(item);
        events
    }

    /// Ends the item that is open.
    pub(super) fn close(&mut self, status: &str) -> Vec<Value> {
        let Some(open) = self.open.take() else { return Vec::new() };
        let item = open.item(status);
        let mut told = json!({"text": open.text});
        if open.kind == Kind::Text {
            told["logprobs"] = json!(open.logprobs);
        }
        let events = vec![
            self.within(&format!("response.{}.done", open.kind.word()), &open, &told),
            self.within("response.content_part.done", &open, &json!({"part": open.part()})),
            self.event("response.output_item.done", &json!({"item": item})),
        ];
        self.done.push(item);
        events
    }

    /// An event about the item that comes next.
    fn event(&self, kind: &str, more: &Value) -> Value {
        let mut event = more.clone();
        event["type"] = kind.into();
        event["output_index"] = self.done.len().into();
        event
    }

    /// An event about what is in it.
    fn within(&self, kind: &str, open: &Open, more: &Value) -> Value {
        let mut event = self.event(kind, more);
        event["item_id"] = open.id.as_str().into();
        event["content_index"] = 0.into();
        event
    }
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Thought => "rs",
            Self::Text => "msg",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Thought => "reasoning_text",
            Self::Text => "output_text",
        }
    }
}

impl Open {
    fn part(&self) -> Value {
        match self.kind {
            Kind::Thought => json!({"type": "reasoning_text", "text": self.text}),
            Kind::Text => {
                json!({"type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs})
            }
        }
    }

    fn item(&self, status: &str) -> Value {
        let content = [self.part()];
        match self.kind {
            Kind::Thought => json!({
                "type": "reasoning", "id": self.id, "summary": [], "content": content, "encrypted_content": null,
                "status": status,
            }),
            Kind::Text => json!({
                "type": "message", "id": self.id, "role": "assistant", "content": content, "status": status,
            }),
        }
    }
}

/// A new id.
pub(super) fn id(prefix: &str) -> String {
    format!("{prefix}_{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: &str) -> wire::ToolCall {
        wire::ToolCall { id: String::new(), name: name.into(), arguments: arguments.into() }
    }

    fn kinds(events: &[Value]) -> Vec<&str> {
        events.iter().map(|event| event["type"].as_str().expect("type")).collect()
    }

    #[test]
    fn every_item_is_added_told_and_done() {
        let tools =
            json!([{"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "patch"}]}]);
        let tools = Tools::read(tools.as_array().expect("a list"), None).expect("read");
        let mut output = Output::new(tools, 2);
        let said = |text: &str| wire::Text { text: text.into(), logprobs: Vec::new() };
        let mut events = output.thought("hm");
        events.extend(output.text(&said("He")));
        events.extend(output.text(&said("y")));
        events.extend(output.call(&call("f", "{\"a\":1}")));
        events.extend(output.call(&call("n__patch", "{\"input\":\"*** Begin\"}")));
        events.extend(output.call(&call("f", "one too many")));
        events.extend(output.close("completed"));
        let expected = [
            "response.output_item.added",
            "response.content_part.added",
            "response.reasoning_text.delta",
            "response.reasoning_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.custom_tool_call_input.delta",
            "response.custom_tool_call_input.done",
            "response.output_item.done",
        ];
        assert_eq!(kinds(&events), expected);
        let indices: Vec<u64> = events.iter().filter_map(|event| event["output_index"].as_u64()).collect();
        assert_eq!(indices, [[0; 6].as_slice(), &[1; 7], &[2; 4], &[3; 4]].concat());
        let [thought, message, function, patch] = output.items() else { panic!("four items") };
        assert_eq!(thought["content"][0]["text"], "hm");
        assert_eq!(message["content"][0]["text"], "Hey");
        assert_eq!((&function["name"], &function["arguments"]), (&json!("f"), &json!("{\"a\":1}")));
        assert_eq!(
            (&patch["name"], &patch["namespace"], &patch["input"]),
            (&json!("patch"), &json!("n"), &json!("*** Begin"))
        );
        assert_eq!(events[6]["item"]["content"], json!([]));
        assert_eq!(events[12]["item"]["id"], events[7]["item_id"]);
    }
}
