//! The websocket of a ComfyUI server: what happens to a graph, as it happens.

use std::time::Duration;

use futures::StreamExt;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::super::address::Address;
use super::replies::{End, failure};

const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// Larger than any preview image.
const MOST_MESSAGE_BYTES: usize = 8 << 20;

/// An open websocket.
pub(super) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// What happened to a graph.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// This node began.
    Node(String),
    /// So much of the node that runs is done, from 0 to 1.
    Progress { value: f64, max: f64 },
    /// It ended well; what it saved is in the history.
    Done,
    /// It ended otherwise.
    Ended(End),
}

/// Opens the websocket. The error is the reason.
pub(super) async fn open(address: &Address, client_name: &str) -> Result<Socket, String> {
    let mut url = address.below(&["ws"]);
    url.query_pairs_mut().append_pair("clientId", client_name);
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    url.set_scheme(scheme).map_err(|()| "its address does not allow one".to_owned())?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MOST_MESSAGE_BYTES))
        .max_frame_size(Some(MOST_MESSAGE_BYTES));
    let opened = connect_async_with_config(url.as_str(), Some(config), false);
    let opened =
        tokio::time::timeout(OPEN_LIMIT, opened).await.map_err(|_| "no answer in time".to_owned())?;
    opened.map(|(stream, _)| Socket(stream)).map_err(|error| error.to_string())
}

impl Socket {
    /// The next thing that happened to the graph `id`. The error is why nothing more is heard.
    pub(super) async fn next(&mut self, id: &str) -> Result<Event, String> {
        loop {
            match self.0.next().await {
                // Binary messages are previews; the library answers pings itself.
                Some(Ok(Message::Text(text))) => {
                    if let Some(event) = parse(&text, id) {
                        return Ok(event);
                    }
                }
                Some(Ok(Message::Close(_))) | None => return Err("it was closed".into()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
            }
        }
    }
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Value,
}

/// `None` for what is about another graph, or about none.
fn parse(text: &str, id: &str) -> Option<Event> {
    let Said { kind, data } = serde_json::from_str(text).ok()?;
    if data["prompt_id"] != id {
        return None;
    }
    match kind.as_str() {
        // No node means that all is done.
        "executing" => Some(data["node"].as_str().map_or(Event::Done, |node| Event::Node(node.into()))),
        "progress" => {
            let (value, max) = (data["value"].as_f64()?, data["max"].as_f64()?);
            (max > 0.0).then_some(Event::Progress { value: value.clamp(0.0, max), max })
        }
        "execution_success" => Some(Event::Done),
        "execution_error" => Some(Event::Ended(failure(&data))),
        "execution_interrupted" => Some(Event::Ended(End::Interrupted)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_happens_to_our_graph_is_heard() {
        let heard = |kind: &str, data: Value| parse(&json!({"type": kind, "data": data}).to_string(), "p");
        let cases = [
            ("status", json!({"status": {"exec_info": {"queue_remaining": 1}}}), None),
            ("executing", json!({"node": "3", "prompt_id": "p"}), Some(Event::Node("3".into()))),
            ("executing", json!({"node": null, "prompt_id": "p"}), Some(Event::Done)),
            ("executing", json!({"node": null, "prompt_id": "other"}), None),
            (
                "progress",
                json!({"value": 30, "max": 20, "prompt_id": "p"}),
                Some(Event::Progress { value: 20.0, max: 20.0 }),
            ),
            ("progress", json!({"value": 1, "max": 0, "prompt_id": "p"}), None),
            ("execution_success", json!({"prompt_id": "p"}), Some(Event::Done)),
            ("execution_interrupted", json!({"prompt_id": "p"}), Some(Event::Ended(End::Interrupted))),
            ("execution_cached", json!({"nodes": [], "prompt_id": "p"}), None),
        ];
        for (kind, data, expected) in cases {
            assert_eq!(heard(kind, data), expected, "{kind}");
        }
        for text in ["", "[]", "{\"type\":1}", "{\"type\":\"progress\"}"] {
            assert_eq!(parse(text, "p"), None, "{text}");
        }
    }
}
