//! The agent's events as a client reads them.

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;

use super::LIMIT;

/// Server-sent events, read as they come.
pub struct Events {
    body: Incoming,
    text: String,
    heard: String,
}

/// One event: its name and id (empty when it has none) and its data.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: String,
}

impl Events {
    /// The events of a successful answer.
    pub fn of(response: Response<Incoming>) -> Self {
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new(), heard: String::new() }
    }

    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                if let Some(event) = parse(&event) {
                    return Some(event);
                }
                continue;
            }
            let frame = tokio::time::timeout(LIMIT, self.body.frame()).await.expect("in time")?;
            if let Ok(data) = frame.expect("frame").into_data() {
                let text = std::str::from_utf8(&data).expect("text");
                self.text.push_str(text);
                self.heard.push_str(text);
            }
        }
    }

    /// The next event of this kind.
    pub async fn until(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().await.expect("an event");
            if event.name == kind {
                return event;
            }
        }
    }

    /// Everything that came so far.
    pub fn heard(&self) -> &str {
        &self.heard
    }

    /// Every event until the end.
    pub async fn rest(mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

impl Event {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {}", self.data))
    }
}

/// `None` for comments.
fn parse(text: &str) -> Option<Event> {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    Some(Event {
        id: field("id:").unwrap_or_default(),
        name: field("event:").unwrap_or_default(),
        data: field("data:")?,
    })
}
