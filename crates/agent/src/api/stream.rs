//! Answers as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;

/// Silence after which a comment is sent, so that nobody on the way gives the connection up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// These events as they come, and signs of life between them.
pub(crate) fn server_sent(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
) -> impl IntoResponse {
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
