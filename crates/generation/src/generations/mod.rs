//! Images, videos and characters: accepted at once, made one after another by a ComfyUI server.

mod character;
mod job;
mod media;
mod picture;
mod queue;
mod request;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actionbooster_http_client::{ClientError, client};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use job::{Job, Status};
pub use queue::MOST_WAITING;
pub use request::{CharacterRequest, PictureRequest};

use super::assets::{AssetError, Kind};
use super::comfy::{Comfy, ComfyError};
use super::error::GenerationError;
use super::off_thread;
use super::principal::Principal;
use super::settings::GatewayConfig;
use super::workflows::{Input, Library, Made};
use crate::Gateway;
use job::{Stopped, Wanted};
use picture::sentence;
use queue::Queue;
use request::{Character, Picture, Source};

/// Silence of the server after which it is taken for gone.
const SILENCE: Duration = Duration::from_secs(120);

/// How long a cancelled generation may take to stop before the answer says that it still runs.
const STOP_LIMIT: Duration = Duration::from_secs(10);

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
    pub(crate) fn new(
        config: &GatewayConfig,
        folders: Vec<PathBuf>,
        stop: CancellationToken,
    ) -> Result<Self, ClientError> {
        let limit = Duration::from_secs(config.comfyui_limit_s);
        let comfy = match &config.comfyui {
            Some(address) => Some(Comfy::new(address.clone(), client(SILENCE)?, limit)),
            None => None,
        };
        Ok(Self { comfy, folders, queue: Queue::new(stop) })
    }

    /// The workflows as they are now.
    async fn library(&self) -> Library {
        let folders = self.folders.clone();
        let read = tokio::task::spawn_blocking(move || Library::read(&folders)).await;
        read.unwrap_or_else(|error| Library { errors: vec![error.to_string()], ..Library::default() })
    }
}

impl Gateway {
    /// Makes what is queued, until it is told to stop.
    pub fn run(self) -> JoinHandle<()> {
        tokio::spawn(async move {
            while let Some((job, work)) = self.generations.queue.next().await {
                let making = tokio::spawn(make(self.clone(), Arc::clone(&job), work));
                let outcome = making.await.unwrap_or_else(|error| {
                    tracing::error!(%error, job = job.id, "a generation ended badly");
                    Err(Stopped::Failed("Something went wrong inside the box; its journal says more.".into()))
                });
                job.end(outcome);
            }
        })
    }

    /// Accepts an image or a video.
    pub async fn picture(
        &self,
        principal: &Principal,
        request: PictureRequest,
        made: Made,
    ) -> Result<Arc<Job>, GenerationError> {
        let wanted = match made {
            Made::Image => Wanted::Image,
            Made::Video => Wanted::Video,
        };
        let comfy = self.comfy()?;
        let picture = request.picture(made, &self.generations.library().await)?;
        self.check_image(principal, &picture).await?;
        self.accept(comfy, principal, wanted, Work::Picture(Box::new(picture))).await
    }

    /// Accepts a character.
    pub async fn character(
        &self,
        principal: &Principal,
        request: CharacterRequest,
    ) -> Result<Arc<Job>, GenerationError> {
        let comfy = self.comfy()?;
        let character = request.character(&self.generations.library().await)?;
        self.check_model(character.model.as_deref()).await?;
        self.accept(comfy, principal, Wanted::Character, Work::Character(Box::new(character))).await
    }

    /// Every generation of this principal that is remembered, newest first, with its place in the queue.
    pub fn jobs(&self, principal: &Principal) -> Vec<(Arc<Job>, Option<usize>)> {
        self.generations.queue.all(principal)
    }

    /// One generation, and its place in the queue.
    pub fn job(&self, principal: &Principal, id: &str) -> Result<(Arc<Job>, Option<usize>), GenerationError> {
        let found = self.generations.queue.get(principal, id);
        found.ok_or_else(|| GenerationError::UnknownGeneration(id.to_owned()))
    }

    /// Cancels a generation, and says whether it has stopped. One that ended stays as it is.
    pub async fn cancel(&self, principal: &Principal, id: &str) -> Result<(Arc<Job>, bool), GenerationError> {
        let unknown = || GenerationError::UnknownGeneration(id.to_owned());
        let job = self.generations.queue.cancel(principal, id).ok_or_else(unknown)?;
        let ended = tokio::time::timeout(STOP_LIMIT, job.ended.cancelled()).await;
        Ok((job, ended.is_ok()))
    }

    /// What can be asked for, and what is wrong with files that cannot be used.
    pub async fn workflows(&self) -> Value {
        let library = self.generations.library().await;
        let described = library.workflows.values().map(|workflow| {
            json!({
                "name": workflow.name,
                "kind": workflow.kind,
                "from_image": workflow.takes(Input::Image),
                "description": workflow.description,
                "needs_vram_bytes": workflow.needs_vram_bytes,
                "checkpoint": workflow.checkpoint,
                "defaults": workflow.defaults,
            })
        });
        let backend = self.generations.comfy.as_ref().map(Comfy::address);
        json!({"workflows": described.collect::<Vec<_>>(), "errors": library.errors, "backend": backend})
    }

    fn comfy(&self) -> Result<&Comfy, GenerationError> {
        self.generations.comfy.as_ref().ok_or(GenerationError::ComfyOff)
    }

    /// Queues it, when the server is there and not too many wait.
    async fn accept(
        &self,
        comfy: &Comfy,
        principal: &Principal,
        wanted: Wanted,
        work: Work,
    ) -> Result<Arc<Job>, GenerationError> {
        self.assets.check_room()?;
        let unreachable = |error: ComfyError| GenerationError::ComfyUnreachable(sentence(&error.to_string()));
        comfy.glance().await.map_err(unreachable)?;
        self.generations.queue.add(wanted, principal, work).ok_or(GenerationError::QueueFull)
    }

    /// An image that is named must be there, and be one.
    async fn check_image(&self, principal: &Principal, picture: &Picture) -> Result<(), GenerationError> {
        let Some(Source::Asset(id)) = &picture.image else { return Ok(()) };
        let (assets, principal, wanted) = (Arc::clone(&self.assets), principal.clone(), id.clone());
        let found = off_thread(move || match assets.get(&principal, &wanted) {
            Err(AssetError::Missing(_)) => Ok(None),
            found => found.map(Some),
        });
        let wrong = match found.await? {
            Some(asset) if asset.kind == Kind::Image => return Ok(()),
            Some(_) => format!("The asset {id} is not an image."),
            None => format!("There is no asset {id}; it may have been removed to make room."),
        };
        Err(GenerationError::invalid("image", wrong))
    }
}

async fn make(gateway: Gateway, job: Arc<Job>, work: Work) -> Result<(), Stopped> {
    let begun = Instant::now();
    let outcome = match work {
        Work::Picture(picture) => picture::make(&gateway, &job, *picture, (0.0, 1.0)).await.map(drop),
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
