//! Images, videos and characters: accepted at once, made one after another by a ComfyUI server.

mod character;
mod job;
mod media;
mod queue;
mod request;
mod routes;
mod studio;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actionbooster_chassis::Paths;
use anyhow::Result;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use routes::{cancel, character, image, list, show, video, workflows};

use super::comfy::Comfy;
use super::settings::GatewayConfig;
use super::workflows::Library;
use crate::gateway::Gateway;
use crate::net::client;
use job::{Job, Status, Stopped};
use queue::Queue;
use request::{Character, Picture};

/// Silence of the server after which it is taken for gone.
const SILENCE: Duration = Duration::from_secs(120);

/// Every generation, and the server that makes them.
#[derive(Debug)]
pub(crate) struct Generations {
    /// `None` when the settings name none.
    comfy: Option<Comfy>,
    /// Folders of workflows, the owner's last.
    folders: Vec<PathBuf>,
    queue: Queue<Work>,
}

/// What is to be made.
#[derive(Debug)]
enum Work {
    Picture(Box<Picture>),
    Character(Box<Character>),
}

impl Generations {
    /// `stop` ends them all.
    pub(crate) fn new(config: &GatewayConfig, paths: &Paths, stop: CancellationToken) -> Result<Self> {
        let limit = Duration::from_secs(config.comfyui_limit_s);
        let comfy = match &config.comfyui {
            Some(address) => Some(Comfy::new(address.clone(), client(SILENCE)?, limit)),
            None => None,
        };
        let folders = vec![paths.vendor().join("workflows"), paths.owner().join("workflows")];
        Ok(Self { comfy, folders, queue: Queue::new(stop) })
    }

    /// The workflows as they are now.
    async fn library(&self) -> Library {
        let folders = self.folders.clone();
        let read = tokio::task::spawn_blocking(move || Library::read(&folders)).await;
        read.unwrap_or_else(|error| Library { errors: vec![error.to_string()], ..Library::default() })
    }
}

/// Makes what is queued, until the agent ends.
pub(crate) fn work(gateway: Gateway) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Some((job, work)) = gateway.generations.queue.next().await {
            let making = tokio::spawn(make(gateway.clone(), Arc::clone(&job), work));
            let outcome = making.await.unwrap_or_else(|error| {
                tracing::error!(%error, job = job.id, "a generation ended badly");
                Err(Stopped::Failed("Something went wrong inside the box; its journal says more.".into()))
            });
            job.end(outcome);
        }
    })
}

async fn make(gateway: Gateway, job: Arc<Job>, work: Work) -> Result<(), Stopped> {
    let begun = Instant::now();
    let outcome = match work {
        Work::Picture(picture) => studio::make(&gateway, &job, *picture, (0.0, 1.0)).await.map(drop),
        Work::Character(character) => character::make(&gateway, &job, *character).await,
    };
    let ended = match &outcome {
        Ok(()) => "succeeded",
        Err(Stopped::Cancelled) => "cancelled",
        Err(Stopped::Failed(reason)) => {
            tracing::warn!(job = job.id, reason, "a generation failed");
            "failed"
        }
    };
    metrics::counter!("generations_total", "kind" => job.wanted.word(), "outcome" => ended).increment(1);
    metrics::histogram!("generation_seconds", "kind" => job.wanted.word())
        .record(begun.elapsed().as_secs_f64());
    outcome
}
