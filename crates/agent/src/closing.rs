//! The end of the agent, for streams that would never end by themselves.

use tokio_util::sync::CancellationToken;

/// Cancelled when the agent ends.
#[derive(Debug, Clone)]
pub(crate) struct Closing(pub(crate) CancellationToken);
