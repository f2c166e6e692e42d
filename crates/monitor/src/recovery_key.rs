//! The key that opens the box's encrypted disk where its TPM does not.

use std::io;
use std::sync::Arc;

use actionbooster_chassis::auth::Caller;
use actionbooster_chassis::{Client, Json, Problem};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::attempts::Visitor;
use crate::{Shared, blocking, login};

/// Where the provisioner puts it, in memory, below the runtime folder.
const PLACE: &str = "secrets/recovery-key";

/// Body of `POST /api/v1/recovery-key`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Request {
    /// The owner's password. Root on the box needs none.
    password: String,
}

/// Shows the key to whoever knows the owner's password: a session that was left open is not enough.
pub(crate) async fn show(
    State(monitor): State<Shared>,
    caller: Caller,
    client: Client,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Json<Value>, Problem> {
    if caller != Caller::Console {
        let visitor = Visitor::of(client, monitor.devices.recognise(&headers));
        login::confirm_owner(&monitor, visitor, request.password).await?;
    }
    let asked = Arc::clone(&monitor);
    let key = blocking(move || read(&asked)).await?;
    tracing::info!("the recovery key of the disk was shown");
    Ok(Json(json!({"recovery_key": key})))
}

fn read(monitor: &Shared) -> Result<String, Problem> {
    match std::fs::read_to_string(monitor.paths.runtime().join(PLACE)) {
        Ok(key) => Ok(key.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "not-encrypted",
            "The disk is not encrypted",
            "There is no recovery key, because the disk of this box is not encrypted.",
        )),
        Err(error) => Err(Problem::internal(format!("the recovery key cannot be read: {error}"))),
    }
}
