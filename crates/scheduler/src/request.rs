//! What is asked of the scheduler: a lease of one model, and how long models stay loaded.

use std::time::Duration;

/// A request for the right to use a model.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// The model's identifier in the store.
    pub model: String,
    /// Who asks; callers take turns.
    pub caller: String,
    /// How urgent it is.
    pub priority: Priority,
    /// Tokens that it will probably take, of prompt and answer together: its share of turns.
    pub tokens: u32,
    /// How long the model stays loaded afterwards; else as the owner chose.
    pub keep_alive: Option<KeepAlive>,
    /// How long it waits for memory and for other loads.
    pub load_timeout: Duration,
}

/// How urgent a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Nobody waits for it.
    Background,
    /// A program.
    #[default]
    Normal,
    /// Somebody looks at the screen.
    Interactive,
}

/// How long an idle model stays loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// Zero unloads it at once.
    For(Duration),
    /// Until its memory is needed.
    Forever,
}

/// What the owner chose for a model: whether and how long it stays loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionPolicy {
    /// Stays loaded whatever happens.
    pub pinned: bool,
    /// How long it stays when idle; as usual when absent.
    pub keep_alive: Option<KeepAlive>,
}
