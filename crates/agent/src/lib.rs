//! The agent: asks models on behalf of clients, and decides which of them are loaded.

use std::sync::Arc;
use std::time::Duration;

use actionbooster_chassis::auth::Scope;
use actionbooster_chassis::health::Status;
use actionbooster_chassis::{Boot, Service};
use actionbooster_models::Store;
use anyhow::Result;
use axum::Router;
use axum::routing::{get, post};
use serde::Deserialize;

mod ask;
mod openai;
mod query;
mod runners;
mod shelf;
mod summary;

use runners::{Launcher, Pool};

/// Requests larger than this hold no question anybody reads.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// How often idle runners are looked at.
const TIDY: Duration = Duration::from_secs(15);

/// Settings of the agent.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bytes that loaded models may take together; the provisioner fits it to the machine. 0 means no limit.
    pub model_budget_bytes: u64,
    /// Seconds an idle model stays loaded.
    pub keep_alive_s: u64,
    /// Requests that one model answers together.
    pub slots: u32,
    /// Seconds a request waits for memory that other requests use.
    pub wait_s: u64,
    /// Settings of `/query`.
    pub query: QueryConfig,
}

/// Settings of `/query`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryConfig {
    /// Models that are asked when the request names none; empty means every model of the store.
    pub models: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model_budget_bytes: 0,
            keep_alive_s: 300,
            slots: 2,
            wait_s: 120,
            query: QueryConfig::default(),
        }
    }
}

/// What the handlers share.
struct Agent {
    store: Store,
    pool: Pool,
    chosen: Vec<String>,
}

type Shared = Arc<Agent>;

/// Builds the routes and starts the housekeeping.
pub async fn start(boot: Boot<Config>) -> Result<Service> {
    let store = Store::new(boot.paths.vendor().join("models"), boot.paths.state().join("models"));
    let launcher = Launcher::detect(&boot.paths).await?;
    let pool = Pool::new(store.clone(), launcher, &boot.config);
    pool.clear().await;
    let agent = Arc::new(Agent { store, pool, chosen: boot.config.query.models });
    shelf::report_health(&agent.store, &boot.health);
    boot.health.set("runners", Status::Ok, "");
    let tidied = Arc::clone(&agent);
    let stop = boot.shutdown.clone();
    let (store, health) = (agent.store.clone(), boot.health.clone());
    let housekeeping = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TIDY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            tidied.pool.unload_idle().await;
            shelf::report_health(&store, &health);
        }
    });
    let ended = Arc::clone(&agent);
    Ok(Service::new(routes(agent))
        .scope(Scope::Infer, &["/query", "/v1/"])
        .body_limit(BODY_LIMIT)
        .error_shape("/v1/", openai::error_shape)
        .on_drain(async move {
            if let Err(error) = housekeeping.await {
                tracing::warn!(%error, "the housekeeping ended badly");
            }
            ended.pool.clear().await;
        }))
}

fn routes(agent: Shared) -> Router {
    Router::new()
        .route("/query", post(query::query))
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/models", get(openai::models))
        .route("/v1/models/{id}", get(openai::model))
        .route("/api/v1/models", get(shelf::list))
        .with_state(agent)
}
