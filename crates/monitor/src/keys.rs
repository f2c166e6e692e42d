//! API keys.

use actionbooster_chassis::auth::Scope;
use actionbooster_chassis::{Json, Problem, unix_now};
use actionbooster_settings::account;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::accounts::AccountsError;
use crate::login::invalid;
use crate::{Shared, blocking};

/// Body of `POST /api/v1/keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    name: String,
    scopes: Vec<String>,
}

/// Every key, without its secret.
pub(crate) async fn list(State(monitor): State<Shared>) -> Result<Json<Value>, Problem> {
    let keys = blocking(move || Ok(monitor.accounts.keys()?)).await?;
    Ok(Json(json!({"keys": keys})))
}

/// Makes a key; the answer is the only place where it is ever shown.
pub(crate) async fn create(
    State(monitor): State<Shared>,
    Json(wish): Json<Wish>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let name = account::name(&wish.name).map_err(|error| invalid("name", error.to_string()))?;
    let mut scopes = Vec::new();
    for word in &wish.scopes {
        let scope = Scope::parse(word).ok_or_else(|| {
            invalid(
                "scopes",
                format!("There is no scope {word:?}; there are infer, jobs, interactive, read, admin."),
            )
        })?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    if scopes.is_empty() {
        return Err(invalid("scopes", "Choose at least one of infer, jobs, interactive, read, admin."));
    }
    let name = name.to_owned();
    let (info, key) = blocking(move || Ok(monitor.accounts.create_key(&name, &scopes, unix_now())?)).await?;
    tracing::info!(key = info.id, name = info.name, "an API key was made");
    let mut body = json!(info);
    body["key"] = key.into();
    Ok((StatusCode::CREATED, Json(body)))
}

/// Revokes a key.
pub(crate) async fn revoke(
    State(monitor): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    blocking(move || match monitor.accounts.revoke_key(&id) {
        Ok(()) => {
            tracing::info!(key = id, "an API key was revoked");
            Ok(StatusCode::NO_CONTENT)
        }
        Err(AccountsError::NoSuchKey) => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no-such-key",
            "There is no such key",
            format!("No key has the id {id}; it may have been revoked already."),
        )),
        Err(other) => Err(other.into()),
    })
    .await
}
