//! The context of a request: who asks, and how urgently.

use std::time::Duration;

use actionbooster_chassis::Problem;
use actionbooster_chassis::auth::{Caller, Scope};
use actionbooster_scheduler::{KeepAlive, LeaseRequest, Priority};
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
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

    /// A request for a lease of a model, which waits for so long for memory and for other loads. Its tokens are
    /// estimated where it is known what the model is asked.
    pub(crate) fn lease_request(&self, model: &str, load_timeout: Duration) -> LeaseRequest {
        let (model, caller) = (model.to_owned(), self.caller.clone());
        LeaseRequest { model, caller, priority: self.priority, tokens: 0, keep_alive: None, load_timeout }
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
            Some("interactive") if caller.may(Scope::Interactive) => Priority::Interactive,
            Some("interactive") => return Err(not_before_others()),
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

/// 403 for a key that may ask and not go first: it would have its turn later than it believes.
fn not_before_others() -> Problem {
    let detail = format!(
        "`{HEADER}: interactive` is for the portal, and for keys with the scope `interactive` or `admin`. Leave the \
         header out, or make a key that has the scope."
    );
    Problem::new(StatusCode::FORBIDDEN, "missing-scope", "This key may not go before others", detail)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn priority(caller: Caller, header: Option<&str>) -> Result<Priority, u16> {
        let mut request = Request::builder().extension(caller);
        if let Some(value) = header {
            request = request.header(HEADER, value);
        }
        let (mut parts, ()) = request.body(()).expect("request").into_parts();
        let context = RequestContext::from_request_parts(&mut parts, &()).await;
        context.map(|context| context.priority).map_err(|problem| problem.status().as_u16())
    }

    #[tokio::test]
    async fn only_the_portal_and_keys_that_may_go_before_others() {
        use Priority::{Background, Interactive, Normal};
        let key = |scopes: &[Scope]| Caller::Key {
            id: "k".into(),
            name: "script".into(),
            scopes: scopes.iter().copied().collect(),
        };
        let portal = || Caller::Session { owner: "ana".into(), hash: Vec::new() };
        let cases = [
            (key(&[Scope::Infer]), None, Ok(Normal)),
            (key(&[Scope::Infer]), Some("normal"), Ok(Normal)),
            (key(&[Scope::Infer]), Some("background"), Ok(Background)),
            (key(&[Scope::Infer]), Some("interactive"), Err(403)),
            (key(&[Scope::Infer]), Some("now"), Err(400)),
            (key(&[Scope::Infer, Scope::Interactive]), None, Ok(Normal)),
            (key(&[Scope::Infer, Scope::Interactive]), Some("interactive"), Ok(Interactive)),
            (key(&[Scope::Admin]), Some("interactive"), Ok(Interactive)),
            (portal(), None, Ok(Interactive)),
            (portal(), Some("interactive"), Ok(Interactive)),
            (portal(), Some("background"), Ok(Background)),
            (Caller::Console, None, Ok(Interactive)),
        ];
        for (caller, header, expected) in cases {
            assert_eq!(priority(caller.clone(), header).await, expected, "{caller:?} {header:?}");
        }
    }
}
