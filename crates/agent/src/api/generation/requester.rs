//! Who asks for something that was made, or is to be.

use actionbooster_chassis::Problem;
use actionbooster_chassis::auth::{Caller, Scope};
use actionbooster_generation::Principal;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// Who asks, as generations and assets know it.
#[derive(Debug)]
pub(crate) struct Requester(pub(crate) Principal);

impl<S: Sync> FromRequestParts<S> for Requester {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let principal = match &caller {
            Caller::Key { id, .. } => Principal::key(id, caller.may(Scope::Admin)),
            Caller::Session { .. } | Caller::Console => Principal::OWNER,
        };
        Ok(Self(principal))
    }
}
