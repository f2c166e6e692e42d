//! Why a model cannot be used.

use crate::circuit_breaker::FAILURE_LIMIT;

/// Why a model cannot be used now. Every text says what its reader can do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ScheduleError {
    /// The store has no such model.
    #[error("there is no model {id}{}", suggestion(.similar))]
    Unknown {
        /// The model that was asked for.
        id: String,
        /// Models that may have been meant.
        similar: Vec<String>,
    },
    /// Its manifest or its file is not sound, or it is of a kind that cannot be asked this way.
    #[error("the model {id} cannot be used: {reason}")]
    Unusable {
        /// The model.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It never fits.
    #[error("the model {id} needs {} and the budget for models is {}; use a smaller model or raise the budget", mib(*.needed_bytes), mib(*.budget_bytes))]
    TooLarge {
        /// The model.
        id: String,
        /// What it takes when loaded.
        needed_bytes: u64,
        /// What all models may take together.
        budget_bytes: u64,
    },
    /// Requests in flight used the memory for longer than this one waited.
    #[error("the model {id} needs {} and other requests use {} of the budget of {}; try again when they have ended", mib(*.needed_bytes), mib(*.used_bytes), mib(*.budget_bytes))]
    NoRoom {
        /// The model.
        id: String,
        /// What it takes when loaded.
        needed_bytes: u64,
        /// What the loaded models take.
        used_bytes: u64,
        /// What all models may take together.
        budget_bytes: u64,
    },
    /// Other models were loaded for longer than this one waited.
    #[error("the model {id} waits for other models to be loaded; try again in a moment")]
    LoadTimeout {
        /// The model.
        id: String,
    },
    /// Its engine did not start.
    #[error("the model {id} could not be loaded: {reason}")]
    LoadFailed {
        /// The model.
        id: String,
        /// What the engine or its supervisor said.
        reason: String,
    },
    /// It failed too often and is left alone for a while.
    #[error("the model {id} failed {FAILURE_LIMIT} times in a row and rests for {seconds} s; last: {reason}")]
    CircuitOpen {
        /// The model.
        id: String,
        /// Seconds after which it may be tried again.
        seconds: u64,
        /// Its last failure.
        reason: String,
    },
    /// Too many requests wait for it.
    #[error("{waiting} requests wait for the model {id} already; try again in {seconds} s")]
    QueueFull {
        /// The model.
        id: String,
        /// Requests that wait.
        waiting: usize,
        /// Seconds after which there should be room.
        seconds: u64,
    },
    /// It never fits beside the pinned models.
    #[error("the model {id} needs {} and the pinned models {} leave {} of the budget of {}; unpin one", mib(*.needed_bytes), .pinned.join(", "), mib(*.left_bytes), mib(*.budget_bytes))]
    Pinned {
        /// The model.
        id: String,
        /// What it takes when loaded.
        needed_bytes: u64,
        /// The models that stay loaded.
        pinned: Vec<String>,
        /// What they leave of the budget.
        left_bytes: u64,
        /// What all models may take together.
        budget_bytes: u64,
    },
    /// Somebody unloaded it while others waited for it.
    #[error("the model {id} was unloaded while it loaded")]
    Unloaded {
        /// The model.
        id: String,
    },
    /// It cannot be unloaded without ending requests.
    #[error("{requests} requests use the model {id}; wait, or force it")]
    InUse {
        /// The model.
        id: String,
        /// Requests that use it or wait for it.
        requests: usize,
    },
    /// The owner keeps it loaded.
    #[error("the model {id} is pinned and stays loaded; its owner unpins or unloads it")]
    Kept {
        /// The model.
        id: String,
    },
    /// Nothing is loaded any more, because the program ends.
    #[error("the agent is stopping; try again when it is back")]
    ShuttingDown,
}

fn suggestion(similar: &[String]) -> String {
    if similar.is_empty() { String::new() } else { format!("; did you mean {}?", similar.join(" or ")) }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
