//! The monitor: the only writer of the auth database, and the owner's view of the box.

use std::sync::Arc;

use actionbooster_chassis::auth::Scope;
use actionbooster_chassis::{Boot, Paths, Service};
use anyhow::{Context, Result};
use axum::Router;
use axum::routing::{delete, get, post};
use serde::Deserialize;

mod accounts;
mod attempts;
mod claim;
mod health;
mod keys;
mod login;
mod names;
mod reports;
mod settings;
mod slot;
mod storage;
mod system;
mod time;

use accounts::Accounts;
use attempts::Attempts;
use claim::ClaimFiles;
use storage::Storage;

/// Settings of the monitor.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Days until a portal session has to log in again.
    pub session_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { session_days: 30 }
    }
}

/// What the handlers share.
struct Monitor {
    accounts: Accounts,
    claim: ClaimFiles,
    attempts: Attempts,
    storage: Storage,
    paths: Paths,
    session_days: u32,
    version: &'static str,
    /// Held while settings are read, changed and written.
    settings_turn: tokio::sync::Mutex<()>,
}

type Shared = Arc<Monitor>;

/// Opens the database and builds the routes.
#[expect(clippy::unused_async, reason = "the chassis awaits every daemon's start")]
pub async fn start(boot: Boot<Config>) -> Result<Service> {
    let folder = boot.paths.state().join("auth");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let accounts = Accounts::open(&boot.paths.auth_database()).context("cannot open the auth database")?;
    let claim = ClaimFiles::below(&folder);
    if accounts.owner()?.is_some() {
        // A cut between the claim and its marker is mended here.
        claim.mark_claimed()?;
    }
    let monitor = Arc::new(Monitor {
        accounts,
        claim,
        attempts: Attempts::default(),
        storage: Storage::new(&boot.paths),
        paths: boot.paths,
        session_days: boot.config.session_days,
        version: boot.version,
        settings_turn: tokio::sync::Mutex::new(()),
    });
    let asked = Arc::clone(&monitor);
    let names = tokio::spawn(names::watch(Arc::clone(&monitor)));
    let (watched, shutdown) = (Arc::clone(&monitor), boot.shutdown);
    let watching = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(storage::SAMPLE);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            watched.storage.sample();
        }
    });
    Ok(Service::new(routes(monitor))
        .public(&["/api/v1/claim", "/api/v1/login"])
        .scope(
            Scope::Read,
            &["/api/v1/provisioning", "/api/v1/hardware", "/api/v1/session", "/api/v1/storage"],
        )
        .scope(Scope::Admin, &["/api/v1/"])
        .health(move || health::report(Arc::clone(&asked)))
        .on_drain(async move {
            names.abort();
            if let Err(error) = watching.await {
                tracing::warn!(%error, "the disk was no longer watched");
            }
        }))
}

fn routes(monitor: Shared) -> Router {
    Router::new()
        .route("/api/v1/claim", get(login::claim_state).post(login::claim))
        .route("/api/v1/login", post(login::login))
        .route("/api/v1/logout", post(login::logout))
        .route("/api/v1/session", get(login::session))
        .route("/api/v1/password", post(login::change_password))
        .route("/api/v1/owner/reset", post(login::reset_owner))
        .route("/api/v1/keys", get(keys::list).post(keys::create))
        .route("/api/v1/keys/{id}", delete(keys::revoke))
        .route("/api/v1/provisioning", get(reports::provisioning))
        .route("/api/v1/hardware", get(reports::hardware))
        .route("/api/v1/settings", get(settings::show).patch(settings::change))
        .route("/api/v1/time", get(time::show).put(time::set))
        .route("/api/v1/storage", get(storage::show))
        .route("/api/v1/power", post(system::power))
        .with_state(monitor)
}
