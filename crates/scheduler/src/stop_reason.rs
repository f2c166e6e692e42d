//! Why a runner is told to stop.

use std::fmt;

/// Why a runner is told to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Nobody asked it for as long as it is kept.
    Idle,
    /// The model named needs its memory.
    Evicted { by: String },
    /// Models take more memory than was reckoned.
    Overrun,
    /// Somebody asked for it.
    Requested,
    /// It is set otherwise now.
    Changed,
    /// The agent ends.
    ShuttingDown,
    /// It lives and does not answer, which counts as a crash.
    Unhealthy(String),
}

impl fmt::Display for StopReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => formatter.write_str("nobody asked it for as long as it is kept"),
            Self::Evicted { by } => write!(formatter, "the model {by} needed its memory"),
            Self::Overrun => formatter.write_str("models take more memory than was reckoned"),
            Self::Requested => formatter.write_str("it was unloaded on request"),
            Self::Changed => formatter.write_str("its settings were changed"),
            Self::ShuttingDown => formatter.write_str("the agent is stopping"),
            Self::Unhealthy(reason) => formatter.write_str(reason),
        }
    }
}
