//! Responses that are kept for a while, so that a conversation goes on by the id of its last one.
//!
//! They are kept in memory: a conversation is nothing that should lie on the disk because a client did not say
//! `store: false`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actionbooster_wire::runner::v1 as wire;
use serde_json::Value;
use tokio::time::Instant;

/// How long a response is kept.
const AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes kept for one key, and for all of them.
const MOST_OF_KEY: usize = 8 * 1024 * 1024;
const MOST: usize = 32 * 1024 * 1024;
/// Bytes around each turn.
const FRAME: usize = 256;

/// The responses that are kept.
#[derive(Debug, Default)]
pub(crate) struct StoredResponses {
    /// The oldest first.
    kept: Mutex<VecDeque<Stored>>,
}

#[derive(Debug)]
struct Stored {
    owner: String,
    id: String,
    /// The response as it was sent.
    body: String,
    /// The conversation up to its end.
    turns: Vec<wire::ChatMessage>,
    bytes: usize,
    since: Instant,
}

impl StoredResponses {
    /// Keeps a response with its conversation. The oldest ones make room, first those of the same key.
    pub(super) fn keep(&self, owner: &str, response: &Value, turns: Vec<wire::ChatMessage>) {
        let body = response.to_string();
        let id = response["id"].as_str().unwrap_or_default().to_owned();
        let bytes = body.len() + turns.iter().map(weight).sum::<usize>();
        let mut kept = self.fresh();
        if bytes > MOST_OF_KEY {
            tracing::info!(bytes, "a response is too large to be kept");
            return;
        }
        kept.push_back(Stored { owner: owner.to_owned(), id, body, turns, bytes, since: Instant::now() });
        let total = |kept: &VecDeque<Stored>, of: &dyn Fn(&Stored) -> bool| -> usize {
            kept.iter().filter(|stored| of(stored)).map(|stored| stored.bytes).sum()
        };
        while total(&kept, &|stored| stored.owner == owner) > MOST_OF_KEY {
            let oldest = kept.iter().position(|stored| stored.owner == owner);
            oldest.and_then(|at| kept.remove(at));
        }
        while total(&kept, &|_| true) > MOST {
            kept.pop_front();
        }
    }

    /// The conversation up to the end of a response.
    pub(super) fn turns(&self, owner: &str, id: &str) -> Option<Vec<wire::ChatMessage>> {
        self.fresh().iter().find(|stored| stored.is(owner, id)).map(|stored| stored.turns.clone())
    }

    /// A response as it was sent.
    pub(super) fn body(&self, owner: &str, id: &str) -> Option<String> {
        self.fresh().iter().find(|stored| stored.is(owner, id)).map(|stored| stored.body.clone())
    }

    /// An item of the output of any response.
    pub(super) fn item(&self, owner: &str, id: &str) -> Option<Value> {
        let kept = self.fresh();
        let mut holding =
            kept.iter().rev().filter(|stored| stored.owner == owner && stored.body.contains(id));
        holding.find_map(|stored| {
            let body: Value = serde_json::from_str(&stored.body).ok()?;
            body["output"].as_array()?.iter().find(|item| item["id"] == id).cloned()
        })
    }

    /// Whether there was one to forget.
    pub(super) fn forget(&self, owner: &str, id: &str) -> bool {
        let mut kept = self.fresh();
        let before = kept.len();
        kept.retain(|stored| !stored.is(owner, id));
        kept.len() < before
    }

    /// Forgets what is too old.
    pub(crate) fn tidy(&self) {
        drop(self.fresh());
    }

    fn fresh(&self) -> MutexGuard<'_, VecDeque<Stored>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.front().is_some_and(|oldest| oldest.since.elapsed() > AGE) {
            kept.pop_front();
        }
        kept
    }
}

impl Stored {
    fn is(&self, owner: &str, id: &str) -> bool {
        self.owner == owner && self.id == id
    }
}

fn weight(turn: &wire::ChatMessage) -> usize {
    let calls =
        turn.tool_calls.iter().map(|call| FRAME + call.id.len() + call.name.len() + call.arguments.len());
    FRAME + turn.content.len() + turn.reasoning.len() + turn.tool_call_id.len() + calls.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::validation::turn;

    fn response(id: &str) -> Value {
        json!({"id": id, "output": [{"id": format!("msg_{id}"), "type": "message"}]})
    }

    #[tokio::test(start_paused = true)]
    async fn responses_belong_to_their_key_and_are_forgotten_after_a_day() {
        let store = StoredResponses::default();
        store.keep("ana", &response("a"), vec![turn("user", "hi")]);
        assert_eq!(store.turns("ana", "a").map(|turns| turns.len()), Some(1));
        assert_eq!(store.item("ana", "msg_a").map(|item| item["type"].clone()), Some(json!("message")));
        assert!(store.turns("eve", "a").is_none() && store.body("eve", "a").is_none());
        assert!(store.item("eve", "msg_a").is_none() && !store.forget("eve", "a"));
        store.keep("ana", &response("b"), Vec::new());
        assert!(store.forget("ana", "b") && store.body("ana", "b").is_none());
        tokio::time::advance(AGE + Duration::from_secs(1)).await;
        assert!(store.body("ana", "a").is_none());
    }

    #[test]
    fn the_oldest_of_a_key_make_room_and_others_stay() {
        let store = StoredResponses::default();
        let large = || vec![turn("user", "x".repeat(MOST_OF_KEY / 3))];
        let has = |owner: &str, id: &str| store.body(owner, id).is_some();
        store.keep("eve", &response("e"), large());
        for id in ["a", "b", "c"] {
            store.keep("ana", &response(id), large());
        }
        assert!(!has("ana", "a") && has("ana", "b") && has("ana", "c") && has("eve", "e"));
        store.keep("ana", &response("d"), vec![turn("user", "x".repeat(MOST_OF_KEY))]);
        assert!(!has("ana", "d") && has("ana", "c"), "what is too large takes nobody's place");
        for key in 0..20 {
            store.keep(&key.to_string(), &response("k"), large());
        }
        assert!(!has("eve", "e") && has("19", "k"));
        let bytes: usize = store.fresh().iter().map(|stored| stored.bytes).sum();
        assert!(bytes <= MOST, "{bytes}");
    }
}
