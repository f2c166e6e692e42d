//! The worker: sessions of object detection over TCP (`proto/ai.proto`) and HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actionbooster_chassis::auth::AuthReader;
use actionbooster_chassis::health::{Health, Status};
use actionbooster_chassis::{Boot, Service};
use actionbooster_hardware::CpuList;
use actionbooster_models::Store;
use anyhow::Result;
use serde::Deserialize;

mod activity;
mod connection;
mod deepstack;
mod detector;
mod detectors;
#[cfg(test)]
mod fixture;
mod http;
mod line;
mod listener;
mod loaded;
mod quotas;
mod record;
mod records;
mod routes;
mod session;
mod state;
mod turns;
mod words;

use detectors::{Computing, Detectors};
use loaded::Capacity;
use quotas::{Limits, Quotas};
use record::Records;

/// How often idle models are looked for, at least.
const TIDY: Duration = Duration::from_secs(1);

/// Settings of the worker.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where programs that speak `ai.proto` connect. Beyond loopback every Init needs a token.
    pub listen: SocketAddr,
    /// Certificate chain (PEM) for TLS on that port; with it, plain connections are refused.
    pub tls_certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub tls_key: Option<PathBuf>,
    /// Seconds after which a model that nobody uses is unloaded.
    pub idle_timeout_s: u64,
    /// Threads that compute for one model; the provisioner fits it to the machine. 0 is 1.
    pub threads: usize,
    /// Processors to compute on, such as `0-3`; empty means all.
    pub cpus: CpuList,
    /// Seconds that a model may take for pictures before it counts as hung and is killed.
    pub frame_timeout_s: u64,
    /// Sessions at once at most, requests over HTTP included.
    pub most_sessions: usize,
    /// Sessions of one client at most: of a key, of an address, or of the programs on this box that show no key. The
    /// agent is one of those, with a session for each of up to 32 cameras.
    pub client_sessions: usize,
    /// Models that stay loaded at most, each at each size of its input; the one that nobody has used for longest goes.
    pub most_models: usize,
    /// Models that one client may use at once.
    pub client_models: usize,
    /// Bytes of memory that loaded models may take together; 0 is a quarter of the machine's, and at least 1 GiB.
    pub models_bytes: u64,
    /// The model for HTTP requests that name none; else the only one there is.
    pub model: String,
    /// Bytes that files of sessions may take together; the oldest go.
    pub records_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7001)),
            tls_certificate: None,
            tls_key: None,
            idle_timeout_s: 60,
            threads: 0,
            cpus: CpuList::default(),
            frame_timeout_s: 30,
            most_sessions: 64,
            client_sessions: 40,
            most_models: 8,
            client_models: 5,
            models_bytes: 0,
            model: String::new(),
            records_bytes: 256 << 20,
        }
    }
}

/// What connections and handlers share.
#[derive(Debug)]
struct Worker {
    detectors: Arc<Detectors>,
    records: Records,
    auth: AuthReader,
    /// Whether Init needs a token.
    guarded: bool,
    model: String,
}

type Shared = Arc<Worker>;

/// When this program was started as a detector's process: does its work, and tells how it ended.
pub fn detector_process() -> Option<ExitCode> {
    std::env::args().nth(1).is_some_and(|word| word == detector::ARGUMENT).then(detector::run)
}

/// Binds the port and builds the routes.
pub async fn start(boot: Boot<Config>) -> Result<Service> {
    let Boot { config, paths, shutdown, health, .. } = boot;
    let store = Store::new(paths.vendor().join("models"), paths.state().join("models"));
    let idle = Duration::from_secs(config.idle_timeout_s.max(1));
    let computing = Computing {
        threads: config.threads.max(1),
        cpus: config.cpus.numbers(),
        patience: Duration::from_secs(config.frame_timeout_s.max(1)),
    };
    let quotas = Quotas::new(Limits {
        sessions: config.most_sessions.max(1),
        client_sessions: config.client_sessions.max(1),
        client_models: config.client_models.max(1),
    });
    let capacity = Capacity::of(config.most_models, config.models_bytes);
    let detectors = Detectors::new(store, computing, idle, capacity, quotas);
    let folder = paths.state().join("worker/sessions");
    let records = Records::open(folder, config.records_bytes, health.clone())?;
    report_runtime(&health).await;
    let worker = Arc::new(Worker {
        detectors: Arc::clone(&detectors),
        records,
        auth: AuthReader::of(&paths),
        guarded: !config.listen.ip().is_loopback(),
        model: config.model,
    });
    let tls = listener::tls(config.tls_certificate.as_deref(), config.tls_key.as_deref())?;
    let listening = listener::listen(config.listen, tls, Arc::clone(&worker), shutdown.clone()).await?;
    let housekeeping = {
        let (detectors, shutdown) = (Arc::clone(&detectors), shutdown.clone());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TIDY);
            while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
                detectors.unload_idle().await;
            }
        })
    };
    Ok(routes::service(worker).on_drain(async move {
        listening.await;
        if let Err(error) = housekeeping.await {
            tracing::warn!(%error, "the housekeeping ended badly");
        }
        detectors.close().await;
    }))
}

/// Says under `/health` whether models can be computed.
async fn report_runtime(health: &Health) {
    match detector::describe().await {
        Ok(words) => {
            tracing::info!(runtime = words, "models are computed by this library");
            health.set("onnxruntime", Status::Ok, "");
        }
        Err(error) => {
            tracing::error!("{error}");
            health.set("onnxruntime", Status::Degraded, error);
        }
    }
}
