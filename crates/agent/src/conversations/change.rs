//! What changes conversations. The account's other listeners are told.

use std::sync::Arc;

use actionbooster_chassis::auth::{Caller, Scope, forbidden};
use actionbooster_chassis::{Json, Problem};
use actionbooster_conversations::{Account, Change, Conversations, Permit, Put, Summary, TurnChange, Uuid};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::problem;
use super::{Admitted, account_of, malformed, parse_id};
use crate::events::Events;

const CHANGED: &str = "conversation.changed";
const REMOVED: &str = "conversation.removed";

/// `PUT /api/v1/conversations/{id}`.
pub(crate) async fn put(
    State(conversations): State<Arc<Conversations>>,
    State(events): State<Arc<Events>>,
    Path(id): Path<String>,
    Admitted(permit): Admitted,
    Json(change): Json<Change>,
) -> Result<(StatusCode, Json<Summary>), Problem> {
    let id = parse_id(&id)?;
    let (summary, new) = conversations.put(&permit, id, change).await.map_err(problem)?;
    tell(&events, &permit, CHANGED, id);
    Ok((status(new), Json(summary)))
}

/// `PUT /api/v1/conversations/{id}/turns/{turn}`.
pub(crate) async fn put_turn(
    State(conversations): State<Arc<Conversations>>,
    State(events): State<Arc<Events>>,
    Path((id, turn)): Path<(String, String)>,
    Admitted(permit): Admitted,
    Json(change): Json<TurnChange>,
) -> Result<(StatusCode, Json<Put>), Problem> {
    let (id, turn) = (parse_id(&id)?, parse_id(&turn)?);
    let (put, new) = conversations.put_turn(&permit, id, turn, change).await.map_err(problem)?;
    tell(&events, &permit, CHANGED, id);
    Ok((status(new), Json(put)))
}

/// Query of [`remove_turn`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    #[serde(default)]
    following: bool,
}

/// `DELETE /api/v1/conversations/{id}/turns/{turn}?following=true`.
pub(crate) async fn remove_turn(
    State(conversations): State<Arc<Conversations>>,
    State(events): State<Arc<Events>>,
    Path((id, turn)): Path<(String, String)>,
    which: Result<Query<Which>, QueryRejection>,
    Admitted(permit): Admitted,
) -> Result<StatusCode, Problem> {
    let Query(which) = which.map_err(|error| malformed(error.body_text()))?;
    let (id, turn) = (parse_id(&id)?, parse_id(&turn)?);
    conversations.remove_turn(&permit, id, turn, which.following).await.map_err(problem)?;
    tell(&events, &permit, CHANGED, id);
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v1/conversations/{id}`.
pub(crate) async fn remove(
    State(conversations): State<Arc<Conversations>>,
    State(events): State<Arc<Events>>,
    Path(id): Path<String>,
    Admitted(permit): Admitted,
) -> Result<StatusCode, Problem> {
    let id = parse_id(&id)?;
    conversations.remove(&permit, id).await.map_err(problem)?;
    tell(&events, &permit, REMOVED, id);
    Ok(StatusCode::NO_CONTENT)
}

/// Query of [`clear`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whose {
    /// Another account, such as that of a key which is no more: who owns the box may free what it takes.
    account: Option<String>,
}

/// `DELETE /api/v1/conversations`: all of the account.
pub(crate) async fn clear(
    State(conversations): State<Arc<Conversations>>,
    State(events): State<Arc<Events>>,
    caller: Caller,
    whose: Result<Query<Whose>, QueryRejection>,
    Admitted(permit): Admitted,
) -> Result<StatusCode, Problem> {
    let Query(Whose { account }) = whose.map_err(|error| malformed(error.body_text()))?;
    let account = match account {
        None => account_of(&caller),
        Some(name) => Account::parse(&name)
            .ok_or_else(|| malformed("`account` is no account; `boosterctl storage` lists them."))?,
    };
    if account != *permit.account() && !caller.may(Scope::Admin) {
        return Err(forbidden(&[Scope::Admin]));
    }
    let removed = conversations.clear(&account).await.map_err(problem)?;
    tracing::info!(%account, removed, "all conversations of an account were deleted");
    // All of them.
    events.publish_to(account, REMOVED, json!({"id": null}));
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v1/conversations/damaged`: the files that were put aside.
pub(crate) async fn remove_damaged(
    State(conversations): State<Arc<Conversations>>,
) -> Result<Json<Value>, Problem> {
    let removal = tokio::task::spawn_blocking(move || conversations.remove_put_aside()).await;
    let removed = removal.map_err(Problem::internal)?.map_err(Problem::internal)?;
    tracing::info!(removed, "damaged files of conversations were deleted");
    Ok(Json(json!({"removed": removed})))
}

fn status(new: bool) -> StatusCode {
    if new { StatusCode::CREATED } else { StatusCode::OK }
}

fn tell(events: &Events, permit: &Permit, kind: &'static str, id: Uuid) {
    events.publish_to(permit.account().clone(), kind, json!({"id": id.to_string()}));
}
