//! Client of a ComfyUI server: sends graphs, follows their execution, fetches what they made.
//!
//! The server is another program on another machine: its answers are read with limits, whatever it
//! announces, and every error names its address and what to do.

mod error;
mod follow;
mod http;
mod replies;
mod socket;

use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub(crate) use error::ComfyError;
pub(crate) use replies::Output;

use super::address::Address;

/// How long telling the server to stop may take: a client or the end of the agent waits for it.
const WITHDRAWAL_LIMIT: Duration = Duration::from_secs(8);

/// A ComfyUI server.
#[derive(Debug, Clone)]
pub(crate) struct Comfy {
    address: Address,
    client: Client,
    /// How long one graph may take, with the time it waits on the server.
    limit: Duration,
}

/// Told of progress: what is done now, and the share of the whole from 0 to 1.
pub(crate) type Report<'a> = &'a (dyn Fn(&str, f64) + Send + Sync);

impl Comfy {
    pub(crate) const fn new(address: Address, client: Client, limit: Duration) -> Self {
        Self { address, client, limit }
    }

    /// Executes a graph and returns what it saved, to be fetched with [`Comfy::fetch`].
    ///
    /// When `cancel` is cancelled the server is told to stop, and to forget what it has not begun.
    pub(crate) async fn run(
        &self,
        graph: &Value,
        cancel: &CancellationToken,
        report: Report<'_>,
    ) -> Result<Vec<Output>, ComfyError> {
        let name = format!("booster-{:016x}", rand::random::<u64>());
        // Before the graph is sent, so that nothing is missed.
        let socket = match socket::open(&self.address, &name).await {
            Ok(socket) => Some(socket),
            Err(reason) => {
                tracing::warn!(address = %self.address, reason, "no websocket; asking again and again instead");
                None
            }
        };
        let id = self.submit(graph, &name).await?;
        let followed = self.follow(&id, graph, socket, report);
        let outcome = tokio::select! {
            () = cancel.cancelled() => Err(ComfyError::Cancelled),
            outcome = tokio::time::timeout(self.limit, followed) => outcome
                .unwrap_or_else(|_| Err(self.late())),
        };
        if matches!(outcome, Err(ComfyError::Cancelled | ComfyError::Late { .. })) {
            self.withdraw(&id).await;
        }
        outcome
    }

    fn late(&self) -> ComfyError {
        ComfyError::Late { address: self.address.clone(), seconds: self.limit.as_secs() }
    }

    /// Stops a graph wherever it is: forgets it while it waits, interrupts it while it runs.
    async fn withdraw(&self, id: &str) {
        let told = async {
            self.forget(id).await?;
            if self.queue().await?.runs(id) { self.interrupt(id).await } else { Ok(()) }
        };
        match tokio::time::timeout(WITHDRAWAL_LIMIT, told).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the ComfyUI server could not be told to stop"),
            Err(_) => tracing::warn!(address = %self.address, "no answer to being told to stop"),
        }
    }
}
