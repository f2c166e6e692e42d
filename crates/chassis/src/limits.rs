//! How much time and how many connections clients may take.

use std::time::Duration;

/// Bounds of a daemon's HTTP side. Tests shorten them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From a connection's start, or its last answer, until the next request's head is there.
    pub(crate) head: Duration,
    /// Between two pieces of a request's body.
    pub(crate) body_pause: Duration,
    /// Until a handler begins to answer, when its service does not say; the body may then take as long as it likes.
    pub(crate) answer: Duration,
    /// For open requests to finish after SIGTERM.
    pub(crate) grace: Duration,
    /// Bytes of the bodies of all requests that are not answered yet, of which a program needs about twice as many.
    pub(crate) bodies: u64,
    /// Open connections per listener; idle ones make room for more.
    pub(crate) connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Longer than the 60 s for which nginx keeps an idle connection: were this side to close
            // first, a request sent in that instant would be lost.
            head: Duration::from_secs(75),
            body_pause: Duration::from_secs(30),
            answer: Duration::from_secs(600),
            grace: Duration::from_secs(20),
            bodies: 64 << 20,
            connections: 512,
        }
    }
}
