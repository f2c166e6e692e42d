//! `booster-runner serve`: the life of a runner.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actionbooster_chassis::{Paths, load, trace};
use actionbooster_wire::runner::MOST_MESSAGE_BYTES;
use actionbooster_wire::runner::v1::runner_server::RunnerServer;
use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::service::Service;
use crate::{Config, ModelArguments, sampling_of};

/// How long answers may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Arguments of `serve`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Socket to answer on; `runners/<id>.sock` of the runtime folder when absent.
    #[arg(long)]
    socket: Option<PathBuf>,
    /// End when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
}

/// Loads the model, answers until SIGTERM.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.die_with_parent {
        set_pdeathsig(Signal::SIGTERM).context("cannot tie this process to its parent")?;
    }
    trace()?;
    let paths = Paths::from_environment();
    let config: Config = load("runner", &paths, std::env::vars())?;
    let processors = arguments.model.settle(&config)?;
    let (model, wishes) = arguments.model.open(&paths)?;
    let id = model.manifest.id.clone();
    let engine = arguments.model.load(&model, &wishes, &config, &processors)?;
    tracing::info!(model = id, description = ?engine.description(), "loaded");
    let socket =
        arguments.socket.clone().unwrap_or_else(|| paths.runtime().join(format!("runners/{id}.sock")));
    let service = Service::new(id, engine, sampling_of(&model, &wishes), wishes.system.clone());
    processors.spread();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The processors are for the model; one thread carries its words.
        .worker_threads(1)
        .max_blocking_threads(4)
        .on_thread_start(move || processors.spread())
        .enable_all()
        .build()?;
    runtime.block_on(answer(service, &socket))
}

async fn answer(service: Service, socket: &Path) -> Result<()> {
    let listener = bind(socket)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = RunnerServer::new(service).max_decoding_message_size(MOST_MESSAGE_BYTES);
    let server = Server::builder().add_service(service).serve_with_incoming_shutdown(
        UnixListenerStream::new(listener),
        async {
            // An error means that the sender is gone, which also means stop.
            let _ = stopped.await;
        },
    );
    let mut server = tokio::spawn(server);
    notify(NotifyState::Ready);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut server => return ended?.context("the server ended by itself"),
    }
    notify(NotifyState::Stopping);
    drop(stop);
    if tokio::time::timeout(GRACE, &mut server).await.is_err() {
        tracing::warn!("answers were cut off at the end of the grace");
        server.abort();
    }
    // The socket of a runner that is gone only misleads.
    if let Err(error) = std::fs::remove_file(socket) {
        tracing::debug!(%error, "the socket was already gone");
    }
    Ok(())
}

fn bind(socket: &Path) -> Result<UnixListener> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", socket.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn notify(state: NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot talk to systemd");
    }
}
