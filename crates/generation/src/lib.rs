//! Generations: texts, images and videos, kept as assets with everything that made them.
//!
//! A [`Gateway`] has texts written by the models of this box, which it reaches through [`LocalModels`], or by other
//! servers; images and videos are made one after another by a ComfyUI server, as files of workflows say.
//! [`GenerationError`] says why something cannot be asked for; what fails later is told by its [`Job`].
//!
//! Metrics: `generations_total` and `generation_seconds`.

mod address;
mod assets;
mod comfy;
mod error;
mod generations;
mod models;
mod principal;
mod remote;
mod settings;
mod text;
mod workflows;

use std::path::PathBuf;
use std::sync::Arc;

use actionbooster_http_client::ClientError;
use tokio_util::sync::CancellationToken;

pub use address::Address;
pub use assets::{Asset, AssetError, AssetFile, Assets, Kind, Sizes};
pub use error::GenerationError;
pub use generations::{CharacterRequest, Job, MOST_WAITING, PictureRequest, Status};
pub use models::{Answer, LocalModels, ModelError, Question};
pub use principal::Principal;
pub use settings::{GatewayConfig, TextServer, TextServerKind};
pub use text::{Text, TextRequest};
pub use workflows::Made;

use generations::Generations;
use remote::Remotes;

/// What it takes to make texts, images and videos. Clones share it.
#[derive(Debug, Clone)]
pub struct Gateway {
    assets: Arc<Assets>,
    generations: Arc<Generations>,
    remotes: Arc<Remotes>,
    /// The models of this box, asked for generations.
    models: Arc<dyn LocalModels>,
}

/// Where the gateway finds and keeps things.
#[derive(Debug)]
pub struct Folders {
    /// Of what was made.
    pub assets: PathBuf,
    /// Of workflows, the owner's last.
    pub workflows: Vec<PathBuf>,
}

impl Gateway {
    /// `stop` ends all generations; `models` writes their texts.
    pub fn new(
        config: GatewayConfig,
        folders: Folders,
        models: Arc<dyn LocalModels>,
        stop: CancellationToken,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            assets: Arc::new(Assets::new(folders.assets, config.assets_bytes)),
            generations: Arc::new(Generations::new(&config, folders.workflows, stop)?),
            remotes: Arc::new(Remotes::new(config.text_servers)?),
            models,
        })
    }

    /// What was made and kept.
    pub const fn assets(&self) -> &Arc<Assets> {
        &self.assets
    }
}

/// Runs work on files off the runtime's threads.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AssetError> + Send + 'static,
) -> Result<T, GenerationError> {
    Ok(tokio::task::spawn_blocking(work).await??)
}
