//! The context of a request: who asks, and how urgently.

use std::time::Duration;

use actionbooster_chassis::Problem;
use actionbooster_chassis::auth::Caller;
use actionbooster_scheduler::{KeepAlive, LeaseRequest, Priority};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::api::validation::invalid;

/// Header that says how urgent a request is.
const HEADER: &str = "x-priority";

/// Who asks, and how urgently.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    caller: String,
    priority: Priority,
}

impl RequestContext {
    /// The agent itself, on somebody's behalf and without hurry.
    pub(crate) fn background(what: &str) -> Self {
        Self { caller: what.to_owned(), priority: Priority::Background }
    }

    /// Who asks, as everything of theirs is labelled.
    pub(crate) fn caller(&self) -> &str {
        &self.caller
    }

    /// A request for a lease of a model, which waits for so long for memory and for other loads.
    pub(crate) fn lease_request(&self, model: &str, load_timeout: Duration) -> LeaseRequest {
        let (model, caller) = (model.to_owned(), self.caller.clone());
        LeaseRequest { model, caller, priority: self.priority, keep_alive: None, load_timeout }
    }

    /// The same, and how long the model stays afterwards.
    pub(crate) fn lease_request_for(
        &self,
        model: &str,
        load_timeout: Duration,
        keep_alive: Option<KeepAlive>,
    ) -> LeaseRequest {
        LeaseRequest { keep_alive, ..self.lease_request(model, load_timeout) }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let usual =
            if matches!(caller, Caller::Key { .. }) { Priority::Normal } else { Priority::Interactive };
        let priority = match parts.headers.get(HEADER).map(|value| value.to_str().unwrap_or_default()) {
            None => usual,
            Some("interactive") => Priority::Interactive,
            Some("normal") => Priority::Normal,
            Some("background") => Priority::Background,
            Some(other) => {
                let detail =
                    format!("`{HEADER}` is {other:?}; it must be interactive, normal or background.");
                return Err(invalid("x-priority", detail));
            }
        };
        Ok(Self { caller: caller.label().to_owned(), priority })
    }
}
