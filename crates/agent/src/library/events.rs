//! What happens to models, as server-sent events for the portal.

use std::convert::Infallible;
use std::time::Duration;

use async_stream::stream;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use crate::Shared;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /api/v1/events`: from now on. A listener that is too slow is told how many it missed.
pub(crate) async fn events(State(agent): State<Shared>) -> impl IntoResponse {
    let mut receiver = agent.pool.events();
    let closing = agent.pool.closing().clone();
    let events = stream! {
        loop {
            let event = tokio::select! {
                event = receiver.recv() => event,
                () = closing.cancelled() => return,
            };
            let told = match event {
                Ok(event) => Event::default().event(event.kind).data(json!(event).to_string()),
                Err(RecvError::Lagged(missed)) => {
                    Event::default().event("missed").data(json!({"missed": missed}).to_string())
                }
                Err(RecvError::Closed) => return,
            };
            yield Ok::<_, Infallible>(told);
        }
    };
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
