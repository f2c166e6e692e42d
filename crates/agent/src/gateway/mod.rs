//! The generation gateway: texts, images and videos, kept as assets with everything that made them.

mod address;
mod assets;
mod comfy;
mod gallery;
pub(crate) mod generations;
mod remote;
mod settings;
mod text;
mod workflows;

use std::sync::Arc;

use actionbooster_chassis::Problem;
use axum::http::StatusCode;

pub use address::Address;
pub(crate) use assets::Assets;
pub(crate) use gallery::{change, clear, file, list, named_file, remove, show};
pub(crate) use generations::{Generations, work};
pub(crate) use remote::Remotes;
pub use settings::{GatewayConfig, TextServer, TextServerKind};
pub(crate) use text::text;

use crate::inference::Inference;
use assets::AssetError;

/// What it takes to make texts, images and videos. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) inference: Inference,
    pub(crate) assets: Arc<Assets>,
    pub(crate) generations: Arc<Generations>,
    pub(crate) remotes: Arc<Remotes>,
}

impl From<AssetError> for Problem {
    fn from(error: AssetError) -> Self {
        match &error {
            AssetError::Missing(_) => Self::new(
                StatusCode::NOT_FOUND,
                "asset-not-found",
                "There is no such asset",
                error.to_string(),
            ),
            AssetError::Full { .. } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk-full",
                "The disk is full",
                error.to_string(),
            ),
            AssetError::Io { .. } => Self::internal(error),
        }
    }
}

/// Runs work on files off the runtime's threads.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AssetError> + Send + 'static,
) -> Result<T, Problem> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(Problem::internal)??)
}
