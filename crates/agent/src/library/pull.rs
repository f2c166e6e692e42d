//! Ollama's ways to change the store: pull, delete, copy.

use std::convert::Infallible;
use std::sync::Arc;

use actionbooster_chassis::{Json, Problem};
use actionbooster_models::Kind;
use async_stream::stream;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::imports::{Source, Stage};
use super::{Failure, ModelLibrary, manage, off_thread};
use crate::api::ollama::named;
use crate::inference::id_of;
use crate::problems::unknown_model;

/// Body of [`pull`] and [`delete`].
#[derive(Deserialize)]
pub(crate) struct Named {
    model: Option<String>,
    name: Option<String>,
    stream: Option<bool>,
}

/// `POST /api/pull`: a model of the catalog; one that is there already is a success at once.
pub(crate) async fn pull(
    State(library): State<ModelLibrary>,
    Json(request): Json<Named>,
) -> Result<Response, Problem> {
    let asked = named(request.model, request.name)?;
    let listing = library.index.list().await;
    let id = id_of(&asked, &listing);
    let there = listing.models.contains_key(&id);
    let name = id.replace([':', '/'], "-");
    // A detector is no model of Ollama's; the box's own routes fetch it.
    let language = library.shop.get(&name).filter(|entry| entry.kind == Kind::Language);
    if !there && language.is_none() {
        return Err(unknown_model(&asked, &listing));
    }
    let mut import = (!there).then(|| library.imports.start(&library, Source::Catalog(name)));
    if request.stream == Some(false) {
        if let Some(import) = &mut import {
            let ended = import.wait_for(|import| matches!(import.state, Stage::Done | Stage::Failed)).await;
            let reason = ended.map_err(Problem::internal)?.reason.clone();
            if let Some(reason) = reason {
                return Err(Problem::new(
                    StatusCode::BAD_GATEWAY,
                    "pull-failed",
                    "The model did not come",
                    reason,
                ));
            }
        }
        return Ok(Json(json!({"status": "success"})).into_response());
    }
    let lines = stream! {
        let line = |value: serde_json::Value| Ok::<_, Infallible>(format!("{value}\n"));
        if let Some(mut import) = import {
            yield line(json!({"status": "pulling manifest"}));
            loop {
                let now = import.borrow_and_update().clone();
                match (now.state, &now.id) {
                    (Stage::Running, Some(id)) => yield line(json!({
                        "status": format!("pulling {id}"),
                        "digest": id,
                        "total": now.size_bytes,
                        "completed": now.received_bytes,
                    })),
                    (Stage::Running, None) => {}
                    (Stage::Checking, _) => yield line(json!({"status": "verifying sha256 digest"})),
                    (Stage::Done, _) => break,
                    (Stage::Failed, _) => {
                        yield line(json!({"error": now.reason}));
                        return;
                    }
                }
                if import.changed().await.is_err() {
                    return;
                }
            }
        }
        yield line(json!({"status": "success"}));
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// `DELETE /api/delete`.
pub(crate) async fn delete(
    State(library): State<ModelLibrary>,
    Json(request): Json<Named>,
) -> Result<StatusCode, Problem> {
    let name = named(request.model, request.name)?;
    let listing = library.index.list().await;
    let id = id_of(&name, &listing);
    let model = listing.models.get(&id).ok_or_else(|| unknown_model(&name, &listing))?;
    manage::remove_model(&library, model, false).await?;
    Ok(StatusCode::OK)
}

/// Body of [`copy`].
#[derive(Deserialize)]
pub(crate) struct Copy {
    source: String,
    destination: String,
}

/// `POST /api/copy`: the same model under another name, without taking its space twice where possible.
pub(crate) async fn copy(
    State(library): State<ModelLibrary>,
    Json(asked): Json<Copy>,
) -> Result<StatusCode, Problem> {
    let listing = library.index.list().await;
    let id = id_of(&asked.source, &listing);
    let model = listing.models.get(&id).ok_or_else(|| unknown_model(&asked.source, &listing))?.clone();
    let destination =
        asked.destination.strip_suffix(":latest").unwrap_or(&asked.destination).replace([':', '/'], "-");
    let index = Arc::clone(&library.index);
    off_thread(move || index.store().copy(&model, &destination).map_err(Failure::from)).await?;
    Ok(StatusCode::OK)
}
