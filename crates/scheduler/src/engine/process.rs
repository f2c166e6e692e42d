//! An engine's process as the scheduler sees it: it can be told to stop, and its end is noticed.

use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::error::LaunchError;

/// A process that was started. A task of its launcher supervises it until it is gone.
#[derive(Debug)]
pub struct Process {
    stop: CancellationToken,
    ending: Ending,
}

/// How a process ended, once it has.
#[derive(Debug, Clone)]
pub(crate) struct Ending(watch::Receiver<Option<Arc<str>>>);

/// The launcher's side of a [`Process`]. Dropping it says that nobody supervises the process any more.
#[derive(Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    ended: watch::Sender<Option<Arc<str>>>,
}

impl Process {
    /// A process, and what the task that supervises it holds.
    pub fn supervised() -> (Self, Supervisor) {
        let (ended, receiver) = watch::channel(None);
        let stop = CancellationToken::new();
        (Self { stop: stop.clone(), ending: Ending(receiver) }, Supervisor { stop, ended })
    }

    /// Asks it to stop; [`Ending::wait`] tells when it has.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Its end.
    pub(crate) fn ending(&self) -> Ending {
        self.ending.clone()
    }
}

impl Ending {
    /// Waits until the process is gone, and says how it ended.
    pub(crate) async fn wait(&mut self) -> Arc<str> {
        match self.0.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_else(|| "unknown".into()),
            Err(_) => "the agent stopped watching it".into(),
        }
    }
}

impl Supervisor {
    /// Waits until the process has to stop.
    pub async fn stop_requested(&self) {
        self.stop.cancelled().await;
    }

    /// The process is gone; `reason` says how.
    pub fn ended(self, reason: impl Into<Arc<str>>) {
        self.ended.send_replace(Some(reason.into()));
    }
}

/// Connects to an engine that listens.
pub(super) async fn connect(socket: &Path) -> Result<Channel, LaunchError> {
    let path = socket.to_path_buf();
    // The address is not used: the connector knows the socket.
    Endpoint::from_static("http://runner.invalid")
        .connect_with_connector(tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .map_err(|source| LaunchError::Connect { socket: socket.to_path_buf(), source })
}
