//! How a runner process starts: a unit of systemd, or a child where systemd does not run.

use std::path::Path;
use std::time::Duration;

use actionbooster_chassis::Paths;
use anyhow::{Result, bail};

use super::children::Children;
use super::process::{Client, Process};
use super::systemd::Units;

/// The largest models take minutes to read from a slow card. A little longer than the unit's own
/// limit, so that systemd gives up first and cleans up.
const LOAD_LIMIT: Duration = Duration::from_secs(930);

/// Starts runners.
#[derive(Debug)]
pub(crate) struct Launcher(Kind);

#[derive(Debug)]
enum Kind {
    Units(Units),
    Children(Children),
}

impl Launcher {
    /// Through systemd where it is PID 1, else as children.
    pub(crate) async fn detect(paths: &Paths) -> Result<Self> {
        let sockets = paths.runtime().join("runners");
        let kind = if Path::new("/run/systemd/system").exists() {
            Kind::Units(Units::new(sockets).await?)
        } else {
            Kind::Children(Children::new(sockets))
        };
        Ok(Self(kind))
    }

    /// Starts the runner of this model and connects to it once it has loaded.
    pub(super) async fn start(&self, id: &str) -> Result<(Process, Client)> {
        let started = async {
            match &self.0 {
                Kind::Units(units) => units.start(id).await,
                Kind::Children(children) => children.start(id).await,
            }
        };
        match tokio::time::timeout(LOAD_LIMIT, started).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("it did not load within {} minutes", LOAD_LIMIT.as_secs() / 60),
        }
    }

    /// Ends what a [`Self::start`] that was dropped has begun.
    pub(super) async fn give_up(&self, id: &str) {
        match &self.0 {
            Kind::Units(units) => units.give_up(id).await,
            // A child ends with the future that started it.
            Kind::Children(_) => {}
        }
    }

    /// Ends what an earlier agent left behind.
    pub(crate) async fn clear_leftovers(&self) -> Result<()> {
        match &self.0 {
            Kind::Units(units) => units.clear_leftovers().await,
            Kind::Children(children) => children.clear_leftovers().await,
        }
    }
}
