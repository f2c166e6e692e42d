//! Follows a graph to its end: over the websocket, and by asking when there is none or it breaks.

use std::time::Duration;

use serde_json::Value;

use super::replies::{End, Output};
use super::socket::{Event, Socket};
use super::{Comfy, ComfyError, Report};

/// Silence on the websocket after which the history is asked as well.
const SILENCE: Duration = Duration::from_secs(15);
/// Pauses between questions.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Questions in a row without an answer after which the server is gone.
const UNANSWERED: u32 = 5;
/// Questions in a row to which the server knows nothing of the graph: it moves it from the queue to
/// the history between two of them.
const UNKNOWN: u32 = 4;
/// What is left to do when the last node ended: saving and fetching.
const WORK: f64 = 0.95;

impl Comfy {
    pub(super) async fn follow(
        &self,
        id: &str,
        graph: &Value,
        socket: Option<Socket>,
        report: Report<'_>,
    ) -> Result<Vec<Output>, ComfyError> {
        if let Some(socket) = socket
            && let Some(end) = self.listen(id, graph, socket, report).await
        {
            return self.outcome(end);
        }
        self.poll(id).await
    }

    /// Listens until the graph ended otherwise than well. `None` leaves the rest to [`Comfy::poll`]:
    /// it ended well, so the history says what it saved, or the websocket broke.
    async fn listen(&self, id: &str, graph: &Value, mut socket: Socket, report: Report<'_>) -> Option<End> {
        let mut share = 0.0_f64;
        let mut node = String::new();
        loop {
            match tokio::time::timeout(SILENCE, socket.next(id)).await {
                Ok(Ok(Event::Node(next))) => {
                    node = graph[&next]["class_type"].as_str().unwrap_or_default().to_owned();
                    report(&node, share);
                }
                Ok(Ok(Event::Progress { value, max })) => {
                    // Several nodes may count; the share never goes back.
                    share = share.max(WORK * value / max);
                    report(&format!("{node} {value:.0}/{max:.0}"), share);
                }
                Ok(Ok(Event::Done)) => return None,
                Ok(Ok(Event::Ended(end))) => return Some(end),
                Ok(Err(reason)) => {
                    tracing::warn!(address = %self.address, reason, "the websocket broke; asking instead");
                    return None;
                }
                // It may be done, and the message lost; or it is busy and polling hears of it.
                Err(_) => match self.history(id).await {
                    Ok(None) => {}
                    Ok(Some(ended)) => return Some(ended.end()),
                    Err(_) => return None,
                },
            }
        }
    }

    /// Asks until the graph ended.
    async fn poll(&self, id: &str) -> Result<Vec<Output>, ComfyError> {
        let (mut unanswered, mut unknown) = (0, 0);
        let mut pause = PAUSE.0;
        loop {
            match self.known(id).await {
                Ok(Known::Ended(end)) => return self.outcome(end),
                Ok(Known::Queued) => (unanswered, unknown) = (0, 0),
                Ok(Known::Nothing) => {
                    unanswered = 0;
                    unknown += 1;
                    if unknown == UNKNOWN {
                        return Err(ComfyError::Lost { address: self.address.clone() });
                    }
                }
                Err(ComfyError::Unreachable { address, reason }) => {
                    unanswered += 1;
                    if unanswered == UNANSWERED {
                        return Err(ComfyError::Gone { address, reason });
                    }
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn known(&self, id: &str) -> Result<Known, ComfyError> {
        if let Some(ended) = self.history(id).await? {
            return Ok(Known::Ended(ended.end()));
        }
        Ok(if self.queue().await?.holds(id) { Known::Queued } else { Known::Nothing })
    }

    fn outcome(&self, end: End) -> Result<Vec<Output>, ComfyError> {
        let address = self.address.clone();
        match end {
            End::Saved(outputs) if outputs.is_empty() => Err(ComfyError::Failed {
                address,
                node: "that saves".into(),
                said: "the workflow ended without a file".into(),
            }),
            End::Saved(outputs) => Ok(outputs),
            End::Failed { node, said } => Err(ComfyError::Failed { address, node, said }),
            End::Interrupted => Err(ComfyError::Interrupted { address }),
        }
    }
}

/// What the server knows of a graph.
enum Known {
    Ended(End),
    /// It waits or runs.
    Queued,
    Nothing,
}
