//! What happens in the agent, published to whoever listens: the portal, programs of the owner's.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use actionbooster_chassis::auth::Caller;
use actionbooster_conversations::Account;
use actionbooster_scheduler::{EventSink, ModelEvent};
use async_stream::stream;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::Event as Message;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::api::stream::server_sent;
use crate::closing::Closing;
use crate::conversations::account_of;

/// Events that are remembered for listeners that come back, and that a slow one may leave lying.
const KEPT: usize = 256;

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Event {
    /// Grows by one with every event, from the agent's start in milliseconds on: a later start counts on
    /// from a larger number.
    pub(crate) id: u64,
    pub(crate) kind: &'static str,
    pub(crate) at: Timestamp,
    /// What the kind of event tells besides: `model` and `reason`, for example.
    #[serde(flatten)]
    pub(crate) about: Value,
    /// Who hears it; everybody unless it says so.
    #[serde(skip)]
    to: Option<Account>,
}

/// Publishes events to every listener, and the last ones to those who come back.
#[derive(Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    next: u64,
    events: VecDeque<Event>,
}

impl Default for Events {
    fn default() -> Self {
        let next = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        Self {
            sender: broadcast::channel(KEPT).0,
            kept: Mutex::new(Kept { next, events: VecDeque::with_capacity(KEPT) }),
        }
    }
}

impl Events {
    /// Publishes an event; `about` is an object.
    pub(crate) fn publish(&self, kind: &'static str, about: Value) {
        self.send(kind, about, true, None);
    }

    /// Publishes an event that nobody who comes later needs to hear.
    pub(crate) fn publish_passing(&self, kind: &'static str, about: Value) {
        self.send(kind, about, false, None);
    }

    /// Publishes an event to one account. It is not remembered: a busy one would push out what others missed.
    pub(crate) fn publish_to(&self, account: Account, kind: &'static str, about: Value) {
        self.send(kind, about, false, Some(account));
    }

    fn send(&self, kind: &'static str, about: Value, keep: bool, to: Option<Account>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event { id: kept.next, kind, at: Timestamp::now(), about, to };
        kept.next += 1;
        if keep {
            if kept.events.len() == KEPT {
                kept.events.pop_front();
            }
            kept.events.push_back(event.clone());
        }
        // Nobody may listen. Sent under the lock, so that a new listener misses nothing and hears nothing twice.
        let _ = self.sender.send(event);
    }

    /// The remembered events after `seen`, none without it, and a receiver of those that follow.
    fn listen(&self, seen: Option<u64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Numbers begin with the time, so after a clock was put back one of before may be higher than all.
        let seen = seen.map(|seen| if seen < kept.next { seen } else { 0 });
        let missed = |seen| kept.events.iter().filter(|event| event.id > seen).cloned().collect();
        (seen.map(missed).unwrap_or_default(), self.sender.subscribe())
    }
}

impl EventSink for Events {
    fn publish(&self, event: ModelEvent<'_>) {
        let ModelEvent { kind, model, reason } = event;
        let about = match reason {
            Some(reason) => json!({"model": model, "reason": reason}),
            None => json!({"model": model}),
        };
        self.send(kind.name(), about, true, None);
    }
}

/// `GET /api/v1/events`: from now on, or after the event that `Last-Event-ID` names, as far as it is
/// remembered. A listener that is too slow is told how many it missed.
pub(crate) async fn events(
    State(events): State<Arc<Events>>,
    State(Closing(closing)): State<Closing>,
    caller: Caller,
    headers: HeaderMap,
) -> impl IntoResponse {
    let account = account_of(&caller);
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let (missed, mut receiver) = events.listen(seen);
    let events = stream! {
        for event in missed {
            yield Ok::<_, Infallible>(message(&event));
        }
        loop {
            let event = tokio::select! {
                event = receiver.recv() => event,
                () = closing.cancelled() => return,
            };
            yield Ok(match event {
                Ok(event) if event.to.as_ref().is_some_and(|to| *to != account) => continue,
                Ok(event) => message(&event),
                Err(RecvError::Lagged(missed)) => {
                    Message::default().event("missed").data(json!({"missed": missed}).to_string())
                }
                Err(RecvError::Closed) => return,
            });
        }
    };
    server_sent(events)
}

fn message(event: &Event) -> Message {
    Message::default().id(event.id.to_string()).event(event.kind).data(json!(event).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_hears_what_was_missed_and_nothing_twice() {
        let events = Events::default();
        let (missed, mut first) = events.listen(None);
        assert!(missed.is_empty());
        for number in 0..3 {
            events.publish("test", json!({"number": number}));
        }
        let seen = first.try_recv().expect("the first").id;
        let (missed, mut second) = events.listen(Some(seen));
        let numbers: Vec<_> = missed.iter().map(|event| event.about["number"].clone()).collect();
        assert_eq!(numbers, [1, 2]);
        events.publish("test", json!({"number": 3}));
        assert_eq!(second.try_recv().expect("the next").about["number"], 3);
        assert!(second.try_recv().is_err());
        let of_a_later_clock = events.listen(Some(u64::MAX)).0;
        assert_eq!(of_a_later_clock.len(), 4, "it has heard none of these");
        for number in 0..KEPT {
            events.publish("test", json!({"number": number}));
        }
        assert_eq!(events.listen(Some(0)).0.len(), KEPT, "only the last ones are remembered");
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_how_many_it_missed_and_goes_on() {
        let events = Events::default();
        let (_, mut slow) = events.listen(None);
        for number in 0..KEPT + 10 {
            events.publish("test", json!({"number": number}));
        }
        let Err(RecvError::Lagged(missed)) = slow.recv().await else { panic!("it is behind") };
        assert_eq!(missed, 10);
        assert_eq!(slow.recv().await.expect("the oldest that is left").about["number"], 10);
    }
}
