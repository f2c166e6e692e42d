//! What happens to models, told to whoever wants to know.

use std::fmt::Debug;

/// Takes what happens to models. The scheduler holds a lock while it publishes, so an implementation must not wait.
pub trait EventSink: Debug + Send + Sync {
    /// Takes one event.
    fn publish(&self, event: ModelEvent<'_>);
}

/// Something that happened to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelEvent<'a> {
    /// What happened.
    pub kind: EventKind,
    /// The model's identifier.
    pub model: &'a str,
    /// Why, if there is more to say.
    pub reason: Option<&'a str>,
}

/// What can happen to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A request was refused because too many wait.
    QueueFull,
    /// Its engine starts.
    Loading,
    /// It can answer.
    Loaded,
    /// Its engine ended as it was told to.
    Unloaded,
    /// Its engine could not start, or ended by itself.
    Crashed,
    /// It failed too often and is left alone for a while.
    CircuitOpened,
}

impl EventKind {
    /// Its name for programs, as `/api/v1/events` shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue.full",
            Self::Loading => "model.loading",
            Self::Loaded => "model.loaded",
            Self::Unloaded => "model.unloaded",
            Self::Crashed => "model.crashed",
            Self::CircuitOpened => "model.quarantined",
        }
    }
}
