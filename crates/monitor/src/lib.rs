//! The monitor: the only writer of the auth database, and the owner's view of the box.

use std::sync::Arc;

use actionbooster_chassis::{Boot, Paths, Problem, Service};
use anyhow::{Context, Result};
use serde::Deserialize;

mod accounts;
mod attempts;
mod claim;
mod device;
mod health;
mod keys;
mod login;
mod mdns;
mod password;
mod recovery_key;
mod reports;
mod reset;
mod routes;
mod settings;
mod slot;
mod storage;
mod system;
mod temporary;
mod time;

use accounts::Accounts;
use attempts::Attempts;
use claim::ClaimFiles;
use device::Devices;
use password::Hashing;
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
    devices: Devices,
    hashing: Hashing,
    storage: Storage,
    paths: Paths,
    session_days: u32,
    version: &'static str,
    /// Held while settings are read, changed and written.
    settings_lock: tokio::sync::Mutex<()>,
}

type Shared = Arc<Monitor>;

/// Opens the database and builds the routes.
pub async fn start(boot: Boot<Config>) -> Result<Service> {
    let folder = boot.paths.state().join("auth");
    if let Err(error) = std::fs::create_dir_all(&folder) {
        tracing::error!(%error, "cannot create {}", folder.display());
    }
    let paths = &boot.paths;
    let accounts = Accounts::open(&paths.auth_database(), paths.temporary_sessions(), paths.auth_copy())
        .context("cannot open the auth database")?;
    let claim = ClaimFiles::below(&folder);
    mend(&accounts, &claim, &boot.paths).await?;
    let monitor = Arc::new(Monitor {
        accounts,
        claim,
        attempts: Attempts::default(),
        devices: Devices::open(&folder),
        hashing: Hashing::default(),
        storage: Storage::new(&boot.paths),
        paths: boot.paths,
        session_days: boot.config.session_days,
        version: boot.version,
        settings_lock: tokio::sync::Mutex::new(()),
    });
    let asked = Arc::clone(&monitor);
    let mdns = tokio::spawn(mdns::watch(Arc::clone(&monitor)));
    let (watched, shutdown) = (Arc::clone(&monitor), boot.shutdown);
    let watching = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(storage::SAMPLE);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            watched.storage.sample();
        }
    });
    Ok(routes::service(monitor).health(move || health::report(Arc::clone(&asked))).on_drain(async move {
        mdns.abort();
        if let Err(error) = watching.await {
            tracing::warn!(%error, "the disk was no longer watched");
        }
    }))
}

/// Makes the files of the claim say what the database says, which a cut may have kept apart. A disk that
/// cannot be written must not keep the owner out.
async fn mend(accounts: &Accounts, claim: &ClaimFiles, paths: &Paths) -> Result<()> {
    let mended = if accounts.owner()?.is_some() {
        claim.mark_claimed()
    } else if claim.is_used_up() {
        tracing::warn!("the box has neither an owner nor a claim code; there is a new code on its console");
        let renewed = claim.renew().map(drop);
        system::announce(paths).await;
        renewed
    } else {
        Ok(())
    };
    if let Err(error) = mended {
        tracing::warn!(%error, "the files of the claim cannot be brought up to date");
    }
    Ok(())
}

/// SQLite and files block; they get a thread of their own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?
}
