//! The agent: asks models on behalf of clients, and looks after what the box makes, keeps and sees for them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actionbooster_chassis::ages::Ages;
use actionbooster_chassis::{Boot, Paths, Service};
use actionbooster_conversations::Conversations;
use actionbooster_generation::{Folders, Gateway};
use actionbooster_models::{Catalog, Incoming, Store};
use actionbooster_scheduler::{
    Dependencies, LatencyEstimator, Limits, ModelIndex, Scheduler, detect_launcher,
};
use anyhow::{Context, Result, anyhow};
use serde::Deserialize;

mod api;
mod ask;
mod cameras;
mod closing;
mod conversations;
mod cost;
mod count;
mod embed;
mod events;
#[doc(hidden)]
pub mod fuzzing;
mod inference;
mod library;
mod problems;
mod query;
mod request_context;
mod routes;
mod state;
mod tally;
mod usage;

pub use actionbooster_generation::{Address, GatewayConfig, TextServer, TextServerKind};
use api::generation::Models;
use cameras::Cameras;
pub use cameras::CamerasConfig;
use events::Events;
use inference::Inference;
use library::{ModelLibrary, Shop};
use request_context::RequestContext;
use state::Agent;

/// How often idle runners and the store are looked at, at most and at least.
const TIDY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// How long a server that models come from may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// The program that holds one language model, and the template of its units.
const ENGINE: &str = "booster-runner";
/// Requests that a runner answers together when its settings do not say.
const DEFAULT_SLOTS: u32 = 2;

/// Settings of the agent.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes that loaded models may take together; the provisioner fits it to the machine. 0 means no limit.
    pub model_budget_bytes: u64,
    /// Seconds an idle model stays loaded.
    pub keep_alive_s: u64,
    /// Seconds a request waits for memory that other requests use.
    pub wait_s: u64,
    /// Seconds without a sign of life after which a model that should answer is stopped.
    pub hang_s: u64,
    /// Where models of the catalog come from; empty is where the catalog says.
    pub hub: String,
    /// Settings of `/query`.
    pub query: QueryConfig,
    /// Settings of the generation gateway.
    pub gateway: GatewayConfig,
    /// Settings of the cameras.
    pub cameras: CamerasConfig,
}

/// Settings of `/query`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryConfig {
    /// Models that are asked when the request names none; empty means every model that fits.
    pub models: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model_budget_bytes: 0,
            keep_alive_s: 300,
            wait_s: 120,
            hang_s: 300,
            hub: String::new(),
            query: QueryConfig::default(),
            gateway: GatewayConfig::default(),
            cameras: CamerasConfig::default(),
        }
    }
}

/// What the agent must know of `[runner]`, which belongs to the runners.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RunnerConfig {
    slots: u32,
}

/// Removes old sessions of cameras.
async fn sweep_cameras(cameras: &Arc<Cameras>) {
    let cameras = Arc::clone(cameras);
    if let Err(error) = tokio::task::spawn_blocking(move || cameras.sweep()).await {
        tracing::warn!(%error, "the sessions of cameras were not tidied");
    }
}

/// Builds the routes and starts the housekeeping.
pub async fn start(boot: Boot<Config>) -> Result<Service> {
    let Boot { config, paths, shutdown, health, .. } = boot;
    let runner: RunnerConfig = actionbooster_chassis::load("runner", &paths, std::env::vars())?;
    let slots = if runner.slots == 0 { DEFAULT_SLOTS } else { runner.slots };
    let store = Store::new(paths.vendor().join("models"), paths.state().join("models"));
    let incoming = Incoming::new(store.clone());
    let index = ModelIndex::new(store, slots);
    let shop = open_shop(&paths, &config.hub)?;
    let launcher = detect_launcher(ENGINE, paths.runtime().join("runners")).await?;
    launcher.clear_leftovers().await.context("cannot end the runners of an earlier agent")?;
    let keep_alive = Duration::from_secs(config.keep_alive_s);
    let latency = Arc::<LatencyEstimator>::default();
    let events = Arc::<Events>::default();
    let dependencies = Dependencies {
        index: Arc::clone(&index),
        latency: Arc::clone(&latency),
        launcher,
        events: Arc::<Events>::clone(&events),
    };
    let limits = Limits { budget_bytes: config.model_budget_bytes, keep_alive };
    let scheduler = Scheduler::new(dependencies, limits);
    let load_timeout = Duration::from_secs(config.wait_s);
    let hang_timeout = Duration::from_secs(config.hang_s.max(1));
    scheduler.set_retention_policies(index.retention_policies().await);
    let ages = |file: &str| Ages::open(paths.state().join(file), paths.runtime());
    let session_ages = ages("cameras/ages.json");
    let cameras = Cameras::start(config.cameras, &paths, session_ages, Arc::clone(&events));
    let inference = Inference {
        scheduler: Arc::clone(&scheduler),
        index: Arc::clone(&index),
        latency,
        default_models: config.query.models.into(),
        limits: inference::Limits { load_timeout, hang_timeout },
    };
    let library = ModelLibrary {
        scheduler,
        index,
        load_timeout,
        incoming,
        upload_ages: Arc::new(Mutex::new(ages("models/.uploads.json"))),
        imports: Arc::default(),
        shop: Arc::new(shop),
        cameras: Arc::clone(&cameras),
    };
    let folders = Folders {
        assets: paths.state().join("assets"),
        workflows: vec![paths.vendor().join("workflows"), paths.owner().join("workflows")],
    };
    let models = Models { inference: inference.clone(), context: RequestContext::background("generations") };
    let gateway = Gateway::new(config.gateway, folders, Arc::new(models), shutdown.child_token())?;
    let conversations = Conversations::new(paths.state().join("conversations"))
        .context("cannot start the thread of conversations")?;
    let conversations = Arc::new(conversations);
    let agent =
        Agent { inference, library, gateway, cameras, events, conversations, responses: Arc::default() };
    let generating = agent.gateway.clone().run();
    library::report_health(&agent.library, &health).await;
    agent.cameras.report_health(&health);
    conversations::report_health(&agent.conversations, &health);
    let tidied = agent.clone();
    let housekeeping = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(keep_alive.clamp(TIDY.0, TIDY.1));
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let Inference { scheduler, index, .. } = &tidied.inference;
            scheduler.set_retention_policies(index.retention_policies().await);
            scheduler.measure().await;
            scheduler.unload_idle();
            tidied.responses.tidy();
            tidied.library.tidy_uploads().await;
            sweep_cameras(&tidied.cameras).await;
            library::report_health(&tidied.library, &health).await;
            tidied.cameras.report_health(&health);
            conversations::report_health(&tidied.conversations, &health);
        }
    });
    let ended = agent.clone();
    Ok(routes::service(agent).on_drain(async move {
        if let Err(error) = housekeeping.await {
            tracing::warn!(%error, "the housekeeping ended badly");
        }
        // The ComfyUI server is told to stop; a server that does not answer must not keep runners.
        let (generated, (), (), ()) = tokio::join!(
            generating,
            ended.inference.scheduler.close(),
            ended.cameras.close(),
            ended.conversations.close()
        );
        if let Err(error) = generated {
            tracing::warn!(%error, "the generations ended badly");
        }
    }))
}

/// The catalog that came with the system, and the hub it is fetched from.
fn open_shop(paths: &Paths, hub: &str) -> Result<Shop> {
    let path = paths.vendor().join("models.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let catalog = Catalog::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    Ok(Shop::new(catalog, hub, actionbooster_http_client::downloader(SILENCE)?))
}
