//! What a request wants of the pool.

use std::time::Duration;

use super::queue::Priority;

/// One request's wish for a loaded model.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    pub(crate) model: String,
    /// Who asks; callers take turns.
    pub(crate) caller: String,
    pub(crate) priority: Priority,
    /// How long the model stays loaded afterwards; else as the owner chose.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// How long it waits for memory and for other loads.
    pub(crate) patience: Duration,
}

/// How long an idle model stays loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    /// Zero unloads it at once.
    For(Duration),
    /// Until its memory is needed.
    Forever,
}

/// What the owner wishes for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wishes {
    /// Stays loaded whatever happens.
    pub(crate) pinned: bool,
    pub(crate) keep_alive: Option<KeepAlive>,
}
