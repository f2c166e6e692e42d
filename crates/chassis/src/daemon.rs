//! The life of a daemon, from arguments to the last connection.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sd_notify::NotifyState;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::auth::{AuthReader, Authenticator};
use crate::config::{self, ConfigError};
use crate::health::Health;
use crate::layers::assemble;
use crate::limits::Limits;
use crate::paths::Paths;
use crate::serve::serve;
use crate::service::Service;
use crate::sockets::{Address, listeners};

/// Exit status of a daemon whose configuration is wrong (`EX_USAGE` of sysexits.h).
const BAD_CONFIG: u8 = 64;
/// How long work on other threads may take once everything else has ended.
const LEFTOVERS: Duration = Duration::from_secs(2);
const UPKEEP: Duration = Duration::from_secs(30);
const WORKERS: usize = 2;
/// llama.cpp tells every tensor of a model it loads.
const FILTER: &str = "info,llama-cpp-2=warn";
const SECONDS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

/// What a daemon starts from.
pub struct Boot<C> {
    /// Its configuration, checked.
    pub config: C,
    /// Where things are.
    pub paths: Paths,
    /// Cancelled when the daemon is told to end.
    pub shutdown: CancellationToken,
    /// The parts it reports under `/health`.
    pub health: Health,
    /// Its version.
    pub version: &'static str,
}

#[derive(Default)]
struct Arguments {
    check: bool,
    listen: Vec<Address>,
}

/// Runs a daemon: `start` builds its service, everything else happens here.
///
/// Arguments: `--config-check`, `--listen ADDRESS` (repeatable), `--version`. A bad configuration
/// or argument exits with 64, any other failure with 1.
pub fn daemon<C, F, R>(name: &'static str, version: &'static str, start: F) -> ExitCode
where
    C: DeserializeOwned,
    F: FnOnce(Boot<C>) -> R,
    R: Future<Output = Result<Service>>,
{
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("booster-{name} {version}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("booster-{name}: {message}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let paths = Paths::from_environment();
    let loaded: Result<C, ConfigError> = config::load(name, &paths, std::env::vars());
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            eprintln!("booster-{name}: {:#}", anyhow::Error::new(error));
            return ExitCode::from(BAD_CONFIG);
        }
    };
    if arguments.check {
        println!("the configuration of booster-{name} is valid");
        return ExitCode::SUCCESS;
    }
    if let Err(error) = begin(name, version, arguments, paths, config, start) {
        tracing::error!("{error:#}");
        eprintln!("booster-{name}: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--version" => return Ok(None),
            "--config-check" => arguments.check = true,
            "--listen" => {
                let value = words.next().ok_or("--listen needs unix:/path or host:port")?;
                arguments.listen.push(value.parse()?);
            }
            other => {
                return Err(format!(
                    "{other} is not known; there are --listen, --config-check and --version"
                ));
            }
        }
    }
    Ok(Some(arguments))
}

fn begin<C, F, R>(
    name: &'static str,
    version: &'static str,
    arguments: Arguments,
    paths: Paths,
    config: C,
    start: F,
) -> Result<()>
where
    F: FnOnce(Boot<C>) -> R,
    R: Future<Output = Result<Service>>,
{
    trace()?;
    let metrics = record()?;
    let addresses = match arguments.listen {
        none if none.is_empty() => vec![Address::Unix(paths.socket(name))],
        given => given,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let boot = Boot { config, paths, shutdown: CancellationToken::new(), health: Health::default(), version };
    let outcome = runtime
        .block_on(run(boot, &addresses, start, metrics))
        .with_context(|| format!("booster-{name} has to end"));
    runtime.shutdown_timeout(LEFTOVERS);
    outcome
}

async fn run<C, F, R>(boot: Boot<C>, addresses: &[Address], start: F, metrics: PrometheusHandle) -> Result<()>
where
    F: FnOnce(Boot<C>) -> R,
    R: Future<Output = Result<Service>>,
{
    let (shutdown, health, version) = (boot.shutdown.clone(), boot.health.clone(), boot.version);
    let auth =
        Authenticator::new(AuthReader::of(&boot.paths)).context("cannot start the threads for keys")?;
    let limits = Limits::default();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let told = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(told);
    let mut service = tokio::select! {
        service = start(boot) => service?,
        () = &mut told => return Ok(()),
    };
    let on_drain = service.on_drain.take();
    let sockets = listeners(addresses)?;
    let router = assemble(service, auth, health, version, metrics.clone(), limits);
    let mut served = tokio::spawn(serve(sockets, router, shutdown.clone(), limits));
    let mut background = JoinSet::new();
    background.spawn(watchdog());
    background.spawn(keep_metrics_small(metrics));
    notify(&[NotifyState::Ready]);
    tracing::info!(version, "ready");
    tokio::select! {
        () = &mut told => {}
        ended = &mut served => {
            ended?;
            anyhow::bail!("all listeners ended");
        }
    }
    notify(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    shutdown.cancel();
    if let Some(work) = on_drain
        && tokio::time::timeout(limits.grace, work).await.is_err()
    {
        tracing::warn!("what was to be done before the end did not finish in time");
    }
    served.await?;
    Ok(())
}

/// Histograms keep every sample until they are read; nobody may ever read them.
async fn keep_metrics_small(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// Tells systemd twice per interval that the runtime still turns.
async fn watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(interval / 2);
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot talk to systemd");
    }
}

/// To the journal when systemd started us, else to standard error. `RUST_LOG` filters.
pub fn trace() -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal).try_init()?;
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).try_init()?;
    }
    Ok(())
}

fn record() -> Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
        .install_recorder()
        .context("cannot record metrics")
}
