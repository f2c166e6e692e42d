//! Why something cannot be generated.

use tokio::task::JoinError;

use super::assets::AssetError;
use super::generations::MOST_WAITING;
use super::models::ModelError;

/// Why something cannot be generated, in words for people.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// A field of the request is wrong.
    #[error("{detail}")]
    Invalid {
        /// The field.
        param: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// No server has the model that is named.
    #[error("{0}")]
    UnknownModel(String),
    /// A model of this box wrote nothing.
    #[error(transparent)]
    Model(ModelError),
    /// A text server does not answer.
    #[error("{0}")]
    TextServerUnreachable(String),
    /// A text server answers, and with no text.
    #[error("{0}")]
    TextServerFailed(String),
    /// The settings name no ComfyUI server.
    #[error(
        "Images and videos are made by a ComfyUI server, and none is set. Write its address into \
         /etc/actionbooster/agent.toml, below [gateway]: comfyui = \"http://host:8188\", and restart \
         booster-agent."
    )]
    ComfyOff,
    /// The ComfyUI server does not answer.
    #[error("{0}")]
    ComfyUnreachable(String),
    /// Too many generations wait.
    #[error("{MOST_WAITING} generations wait already; ask again when some are done, or cancel one.")]
    QueueFull,
    /// There is no generation of this name.
    #[error(
        "There is no generation {0}. Only the latest are remembered, and none over a restart; what they \
         made is under /api/v1/assets."
    )]
    UnknownGeneration(String),
    /// What was made cannot be had or kept.
    #[error(transparent)]
    Asset(#[from] AssetError),
    /// Work on files ended badly.
    #[error(transparent)]
    Task(#[from] JoinError),
}

impl GenerationError {
    pub(crate) fn invalid(param: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid { param, detail: detail.into() }
    }

    /// Whether its words are for the journal and not for people.
    pub const fn is_internal(&self) -> bool {
        matches!(self, Self::Task(_) | Self::Asset(AssetError::Io { .. }))
    }
}
