//! A runner's process as the pool sees it: it can be told to stop, and its end is noticed.

use std::path::Path;
use std::sync::Arc;

use actionbooster_wire::runner::v1::runner_client::RunnerClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// A client of one runner.
pub(crate) type Client = RunnerClient<Channel>;

/// How a process ended, once it has.
#[derive(Debug, Clone)]
pub(super) struct Ending(watch::Receiver<Option<Arc<str>>>);

/// Says how a process ended; dropping it says that nobody watches any more.
#[derive(Debug)]
pub(super) struct Watcher(watch::Sender<Option<Arc<str>>>);

/// A process that was started. A task of the launcher watches it until it is gone.
#[derive(Debug)]
pub(super) struct Process {
    stop: CancellationToken,
    ending: Ending,
}

impl Process {
    /// A process, with what its watching task holds: the wish to stop, and where to tell the end.
    pub(super) fn watched() -> (Self, CancellationToken, Watcher) {
        let (sender, receiver) = watch::channel(None);
        let stop = CancellationToken::new();
        (Self { stop: stop.clone(), ending: Ending(receiver) }, stop, Watcher(sender))
    }

    /// Asks it to stop; [`Ending::wait`] tells when it has.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Its end.
    pub(super) fn ending(&self) -> Ending {
        self.ending.clone()
    }
}

impl Ending {
    /// Waits until the process is gone.
    pub(super) async fn wait(&mut self) -> Arc<str> {
        match self.0.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_else(|| "unknown".into()),
            Err(_) => "the agent stopped watching it".into(),
        }
    }
}

impl Watcher {
    /// The process is gone.
    pub(super) fn ended(self, reason: impl Into<Arc<str>>) {
        self.0.send_replace(Some(reason.into()));
    }
}

/// Connects to a runner that listens.
pub(super) async fn connect(socket: &Path) -> Result<Client, tonic::transport::Error> {
    let socket = socket.to_path_buf();
    // The address is not used: the connector knows the socket.
    let channel = Endpoint::from_static("http://runner.invalid")
        .connect_with_connector(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await?;
    Ok(RunnerClient::new(channel))
}
