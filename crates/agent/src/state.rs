//! What handlers work with: each takes the part that it needs.

use std::sync::Arc;

use actionbooster_conversations::Conversations;
use actionbooster_generation::Gateway;
use axum::extract::FromRef;

use crate::api::openai::responses::StoredResponses;
use crate::cameras::Cameras;
use crate::closing::Closing;
use crate::events::Events;
use crate::inference::Inference;
use crate::library::ModelLibrary;

/// Everything that handlers work with. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) inference: Inference,
    pub(crate) library: ModelLibrary,
    pub(crate) gateway: Gateway,
    pub(crate) cameras: Arc<Cameras>,
    pub(crate) events: Arc<Events>,
    pub(crate) conversations: Arc<Conversations>,
    pub(crate) responses: Arc<StoredResponses>,
}

impl FromRef<Agent> for Inference {
    fn from_ref(agent: &Agent) -> Self {
        agent.inference.clone()
    }
}

impl FromRef<Agent> for ModelLibrary {
    fn from_ref(agent: &Agent) -> Self {
        agent.library.clone()
    }
}

impl FromRef<Agent> for Gateway {
    fn from_ref(agent: &Agent) -> Self {
        agent.gateway.clone()
    }
}

impl FromRef<Agent> for Arc<Cameras> {
    fn from_ref(agent: &Agent) -> Self {
        Self::clone(&agent.cameras)
    }
}

impl FromRef<Agent> for Arc<Events> {
    fn from_ref(agent: &Agent) -> Self {
        Self::clone(&agent.events)
    }
}

impl FromRef<Agent> for Arc<Conversations> {
    fn from_ref(agent: &Agent) -> Self {
        Self::clone(&agent.conversations)
    }
}

impl FromRef<Agent> for Arc<StoredResponses> {
    fn from_ref(agent: &Agent) -> Self {
        Self::clone(&agent.responses)
    }
}

impl FromRef<Agent> for Closing {
    fn from_ref(agent: &Agent) -> Self {
        Self(agent.inference.scheduler.closing().clone())
    }
}
