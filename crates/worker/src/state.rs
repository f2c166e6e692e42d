//! The worker's state as its metric tells it.

/// What the worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Nothing is loaded.
    Idle,
    /// A model is being loaded.
    Loading,
    /// A model is loaded and nobody uses it.
    Ready,
    /// Somebody uses one.
    SessionActive,
}

impl State {
    /// Of so many loads under way, loaded models and open sessions.
    pub(crate) const fn of(loading: usize, loaded: usize, sessions: usize) -> Self {
        match (sessions, loading, loaded) {
            (1.., _, _) => Self::SessionActive,
            (0, 1.., _) => Self::Loading,
            (0, 0, 1..) => Self::Ready,
            (0, 0, 0) => Self::Idle,
        }
    }

    /// As the metric `worker_state`.
    pub(crate) const fn number(self) -> f64 {
        match self {
            Self::Idle => 0.0,
            Self::Loading => 1.0,
            Self::Ready => 2.0,
            Self::SessionActive => 3.0,
        }
    }

    /// For people and programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Loading => "LOADING",
            Self::Ready => "READY",
            Self::SessionActive => "SESSION_ACTIVE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_uses_counts_most() {
        for (loading, loaded, sessions, state) in [
            (0, 0, 0, State::Idle),
            (1, 0, 0, State::Loading),
            (1, 1, 0, State::Loading),
            (0, 1, 0, State::Ready),
            (1, 1, 2, State::SessionActive),
        ] {
            assert_eq!(State::of(loading, loaded, sessions), state, "{}", state.name());
        }
    }
}
