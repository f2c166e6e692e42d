//! Forgetting the owner, so that the box can be claimed anew.

use std::sync::Arc;

use actionbooster_chassis::auth::Caller;
use actionbooster_chassis::{Json, Problem};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::accounts::{Revoked, cannot_write};
use crate::{Monitor, Shared, blocking, settings, system};

/// Body of `POST /api/v1/owner/reset`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wish {
    /// Leaves the keys of programs and of SSH as they are.
    keep_keys: bool,
}

/// Forgets the owner and every way in that the owner has given. Only root on the box may: the console.
pub(crate) async fn reset_owner(
    State(monitor): State<Shared>,
    caller: Caller,
    Json(wish): Json<Wish>,
) -> Result<Json<Value>, Problem> {
    if caller != Caller::Console {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "console-only",
            "Only at the console",
            "Run `boosterctl owner reset` on the box's own screen and keyboard.",
        ));
    }
    let ssh_keys = if wish.keep_keys { Some(0) } else { forget_ssh_keys(&monitor).await };
    let asked = Arc::clone(&monitor);
    let (code, revoked) = blocking(move || forget_owner(&asked, wish.keep_keys)).await?;
    tracing::warn!(keys_kept = wish.keep_keys, "the owner was reset at the console");
    let applied = match ssh_keys {
        None => false,
        Some(0) => true,
        Some(_) => system::apply_settings(&monitor.paths).await.unwrap_or_else(|error| {
            tracing::error!(%error, "SSH still accepts the old keys");
            false
        }),
    };
    system::announce(&monitor.paths).await;
    let (first, second) = code.split_at(code.len() / 2);
    Ok(Json(json!({
        "claim_code": format!("{first}-{second}"),
        "keys_kept": wish.keep_keys,
        "revoked": {"sessions": revoked.sessions, "api_keys": revoked.api_keys, "ssh_keys": ssh_keys},
        "applied": applied,
    })))
}

/// How many keys may no longer log in over SSH; `None` when the settings are damaged, which must not
/// keep the owner out.
async fn forget_ssh_keys(monitor: &Shared) -> Option<usize> {
    let _lock = monitor.settings_lock.lock().await;
    let asked = Arc::clone(monitor);
    let outcome = blocking(move || settings::forget_ssh_keys(&asked.paths)).await;
    outcome.inspect_err(|problem| tracing::error!("SSH keys stay: {}", problem.detail())).ok()
}

/// In this order: a code without effect beside an owner does no harm, while a box without owner and code
/// could not be claimed.
fn forget_owner(monitor: &Monitor, keep_keys: bool) -> Result<(String, Revoked), Problem> {
    let cannot = |error: std::io::Error| {
        tracing::error!(%error, "the owner cannot be reset");
        cannot_write()
    };
    let code = monitor.claim.renew().map_err(cannot)?;
    let forgotten = monitor.accounts.reset_owner(keep_keys).map_err(Problem::from).and_then(|revoked| {
        monitor.devices.forget_all().map_err(cannot)?;
        Ok(revoked)
    });
    if forgotten.is_err() && monitor.accounts.owner().is_ok_and(|owner| owner.is_some()) {
        monitor.claim.mark_claimed().map_err(cannot)?;
    }
    Ok((code, forgotten?))
}
