//! The kept outputs over HTTP: list, show, fetch, pin, delete. Each key has what it made; others are not told of it.

use std::sync::Arc;

use actionbooster_chassis::{Json, Problem};
use actionbooster_generation::{Asset, AssetError, Gateway, Kind, Principal};
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use super::error::problem;
use super::requester::Requester;

/// Assets of one page when the request does not say, and at most.
const PAGE: (usize, usize) = (50, 500);

/// Query of [`list`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selection {
    kind: Option<Kind>,
    limit: Option<usize>,
    /// Only what is older than this asset: the next page.
    before: Option<String>,
}

/// `GET /api/v1/assets`: newest first, a page at a time.
pub(crate) async fn list(
    State(gateway): State<Gateway>,
    Requester(principal): Requester,
    selection: Result<Query<Selection>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(selection) = selection.map_err(|error| malformed(&error))?;
    let assets = Arc::clone(gateway.assets());
    let all = off_thread(move || assets.list(&principal)).await?;
    let limit = selection.limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let (page, more) = page(all, &selection, limit);
    let next = page.last().filter(|_| more).map(|asset| asset.id.clone());
    Ok(Json(json!({"assets": page, "next_before": next})))
}

/// Runs work on files off the runtime's threads.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AssetError> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?.map_err(|error| problem(error.into()))
}

fn malformed(error: &QueryRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", error.body_text())
}

/// One page, and whether more follow.
fn page(all: Vec<Asset>, selection: &Selection, limit: usize) -> (Vec<Asset>, bool) {
    let begins = selection
        .before
        .as_ref()
        .map_or(0, |before| all.iter().position(|asset| asset.id == *before).map_or(all.len(), |at| at + 1));
    let wanted = |asset: &Asset| selection.kind.is_none_or(|kind| asset.kind == kind);
    let mut rest: Vec<Asset> = all.into_iter().skip(begins).filter(wanted).take(limit + 1).collect();
    let more = rest.len() > limit;
    rest.truncate(limit);
    (rest, more)
}

/// Query of [`clear`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cleared {
    kind: Option<Kind>,
}

/// `DELETE /api/v1/assets?kind=image`: all of a kind, or all, that are not pinned.
pub(crate) async fn clear(
    State(gateway): State<Gateway>,
    cleared: Result<Query<Cleared>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Cleared { kind }) = cleared.map_err(|error| malformed(&error))?;
    let assets = Arc::clone(gateway.assets());
    let removed = off_thread(move || assets.clear(kind)).await?;
    tracing::info!(removed, "generated files were deleted");
    Ok(Json(json!({"removed": removed})))
}

/// `GET /api/v1/assets/{id}`.
pub(crate) async fn show(
    State(gateway): State<Gateway>,
    Requester(principal): Requester,
    Path(id): Path<String>,
) -> Result<Json<Asset>, Problem> {
    let assets = Arc::clone(gateway.assets());
    off_thread(move || assets.get(&principal, &id)).await.map(Json)
}

/// `GET /api/v1/assets/{id}/file`: the first file.
pub(crate) async fn file(
    State(gateway): State<Gateway>,
    Requester(principal): Requester,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    fetch(&gateway, principal, id, None).await
}

/// `GET /api/v1/assets/{id}/file/{name}`.
pub(crate) async fn named_file(
    State(gateway): State<Gateway>,
    Requester(principal): Requester,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    fetch(&gateway, principal, id, Some(name)).await
}

async fn fetch(
    gateway: &Gateway,
    principal: Principal,
    id: String,
    name: Option<String>,
) -> Result<Response, Problem> {
    let assets = Arc::clone(gateway.assets());
    let (path, described) = off_thread(move || assets.file(&principal, &id, name.as_deref())).await?;
    let file = tokio::fs::File::open(&path).await.map_err(Problem::internal)?;
    let headers = [
        (header::CONTENT_TYPE, described.media_type),
        (header::CONTENT_LENGTH, described.size_bytes.to_string()),
        // A model wrote it: a browser must not run it as a page of this box.
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", described.name)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}

/// Body of [`change`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    pinned: bool,
}

/// `PATCH /api/v1/assets/{id}`.
pub(crate) async fn change(
    State(gateway): State<Gateway>,
    Requester(principal): Requester,
    Path(id): Path<String>,
    Json(change): Json<Change>,
) -> Result<Json<Asset>, Problem> {
    let assets = Arc::clone(gateway.assets());
    off_thread(move || assets.pin(&principal, &id, change.pinned)).await.map(Json)
}

/// `DELETE /api/v1/assets/{id}`.
pub(crate) async fn remove(
    State(gateway): State<Gateway>,
    Requester(principal): Requester,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let assets = Arc::clone(gateway.assets());
    off_thread(move || assets.delete(&principal, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn asset(id: &str, kind: Kind) -> Asset {
        let parameters = Value::Null;
        Asset {
            id: id.into(),
            kind,
            created_at: Timestamp::UNIX_EPOCH,
            sequence: 1,
            pinned: false,
            owner: None,
            parameters,
            files: vec![],
        }
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let all = || {
            vec![
                asset("d", Kind::Text),
                asset("c", Kind::Image),
                asset("b", Kind::Text),
                asset("a", Kind::Text),
            ]
        };
        let select = |kind: Option<Kind>, before: Option<&str>, limit: usize| {
            let selection = Selection { kind, limit: None, before: before.map(String::from) };
            let (page, more) = page(all(), &selection, limit);
            (page.into_iter().map(|asset| asset.id).collect::<Vec<_>>().concat(), more)
        };
        assert_eq!(select(None, None, 2), ("dc".into(), true));
        assert_eq!(select(None, Some("c"), 2), ("ba".into(), false));
        assert_eq!(select(Some(Kind::Text), None, 2), ("db".into(), true));
        assert_eq!(select(Some(Kind::Text), Some("b"), 2), ("a".into(), false));
        assert_eq!(select(None, Some("gone"), 2), (String::new(), false));
    }
}
