//! Conversations that the portal and programs keep: each account sees its own, and hears of its own changes.

mod change;
mod error;
mod health;
mod read;

use std::fmt::Display;
use std::sync::Arc;

use actionbooster_chassis::Problem;
use actionbooster_chassis::auth::Caller;
use actionbooster_conversations::{Account, Conversations, Permit, Uuid};
use axum::extract::{FromRef, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;

pub(crate) use change::{clear, put, put_turn, remove, remove_damaged, remove_turn};
use error::problem;
pub(crate) use health::{report_health, usage};
pub(crate) use read::{export, list, show};

/// Whose conversations a caller keeps. Root on the box owns it, so the console's are the owner's.
pub(crate) fn account_of(caller: &Caller) -> Account {
    match caller {
        Caller::Key { id, .. } => Account::Key(id.clone()),
        Caller::Session { .. } | Caller::Console => Account::Owner,
    }
}

/// A request that was let in, before anything of its body is read.
pub(crate) struct Admitted(Permit);

impl<S: Sync> FromRequestParts<S> for Admitted
where
    Arc<Conversations>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let conversations = Arc::<Conversations>::from_ref(state);
        conversations.permit(account_of(&caller)).await.map(Self).map_err(problem)
    }
}

/// An identifier out of a path.
fn parse_id(text: &str) -> Result<Uuid, Problem> {
    let shown: String = text.chars().take(64).collect();
    Uuid::try_parse(text).map_err(|error| malformed(format!("{shown:?} is no UUID: {error}.")))
}

fn malformed(detail: impl Display) -> Problem {
    let title = "The request cannot be read";
    Problem::new(StatusCode::BAD_REQUEST, "malformed", title, detail.to_string())
}
