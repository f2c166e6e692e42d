//! Ports for servers that tests start.

use std::sync::atomic::{AtomicU16, Ordering};

/// A port of its own for every server, also across programs of tests. The system gives none of these to others, as it
/// does with those that it finds free itself.
pub fn port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let number = TAKEN.fetch_add(1, Ordering::Relaxed) % 64;
    12_000 + (std::process::id() % 250) as u16 * 64 + number
}
