//! What cameras kept: their sessions with snapshot and clip.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actionbooster_cameras::retention;
use actionbooster_cameras::session::{BEST, CLIP, SUMMARY, Summary};
use actionbooster_chassis::{Json, Problem};
use actionbooster_storage::{Usage, measure};
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use super::{Cameras, lock};

/// Sessions in a list at most, the newest.
const MOST: usize = 200;
const DAY_S: u64 = 24 * 3600;

/// `GET /api/v1/cameras/{id}/sessions`: the newest first.
pub(crate) async fn list(
    State(cameras): State<Arc<Cameras>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let folder = camera_folder(&cameras, &id)?;
    let read = tokio::task::spawn_blocking(move || {
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .map(|entries| {
                entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok())
            })
            .map(|names| names.filter(|name| is_session(name)).collect())
            .unwrap_or_default();
        names.sort_unstable_by(|left, right| right.cmp(left));
        let summary = |name: &String| {
            let text = std::fs::read(folder.join(name).join(SUMMARY)).ok()?;
            let summary: Summary = serde_json::from_slice(&text).ok()?;
            Some(json!({
                "session": name,
                "began": summary.began,
                "ended": summary.ended,
                "reason": summary.reason,
                "classes": summary.classes,
                "snapshot": summary.snapshot,
                "clip": summary.clip,
                "recording_stopped": summary.recording_stopped,
            }))
        };
        names.iter().filter_map(summary).take(MOST).collect::<Vec<Value>>()
    });
    Ok(Json(json!({"sessions": read.await.unwrap_or_default()})))
}

/// `GET /api/v1/cameras/{id}/sessions/{session}`: all of it.
pub(crate) async fn show(
    State(cameras): State<Arc<Cameras>>,
    Path((id, session)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let folder = session_folder(&cameras, &id, &session)?;
    let text = tokio::fs::read(folder.join(SUMMARY)).await.map_err(|_| missing(&session))?;
    serde_json::from_slice(&text).map(Json).map_err(Problem::internal)
}

/// `GET /api/v1/cameras/{id}/sessions/{session}/{file}`: its snapshot or its clip.
pub(crate) async fn file(
    State(cameras): State<Arc<Cameras>>,
    Path((id, session, file)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let folder = session_folder(&cameras, &id, &session)?;
    let kind = match file.as_str() {
        BEST => "image/jpeg",
        CLIP => "video/x-motion-jpeg",
        _ => return Err(missing(&session)),
    };
    let file = tokio::fs::File::open(folder.join(&file)).await.map_err(|_| missing(&session))?;
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(ReaderStream::new(file))).into_response())
}

/// `DELETE /api/v1/cameras/{id}/sessions/{session}`.
pub(crate) async fn remove(
    State(cameras): State<Arc<Cameras>>,
    Path((id, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let open = lock(&cameras.running).get(&id).and_then(|running| {
        let state = lock(&running.state).clone()?;
        state["session"].as_str().map(str::to_owned)
    });
    if open.as_deref() == Some(&session) {
        let detail = "The session goes on; wait until it has ended.";
        return Err(Problem::new(StatusCode::CONFLICT, "open", "The session goes on", detail));
    }
    let folder = session_folder(&cameras, &id, &session)?;
    tokio::fs::remove_dir_all(folder).await.map_err(|_| missing(&session))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Query of [`clear`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Age {
    older_than_days: u32,
}

/// `DELETE /api/v1/cameras/{id}/sessions?older_than_days=N`: those that began so long ago; 0 is all that ended.
pub(crate) async fn clear(
    State(cameras): State<Arc<Cameras>>,
    Path(id): Path<String>,
    age: Result<Query<Age>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Age { older_than_days }) = age.map_err(|error| {
        let detail =
            format!("{}; say which go with `older_than_days`, 0 is all that ended.", error.body_text());
        Problem::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail)
    })?;
    let folder = camera_folder(&cameras, &id)?;
    let age = Duration::from_secs(u64::from(older_than_days) * DAY_S);
    let cleared = tokio::task::spawn_blocking(move || retention::clear(&folder, Timestamp::now(), age)).await;
    let removed = cleared.map_err(Problem::internal)?.map_err(Problem::internal)?;
    tracing::info!(camera = id, removed, older_than_days, "sessions were deleted");
    Ok(Json(json!({"removed": removed})))
}

/// What a camera recorded.
pub(crate) struct Recordings {
    pub(crate) id: String,
    /// As its owner called it; its id when it is gone.
    pub(crate) name: String,
    pub(crate) sessions: usize,
    /// Name of the oldest.
    pub(crate) oldest: Option<String>,
    pub(crate) usage: Usage,
}

impl Cameras {
    /// What every camera recorded, also those that were removed. Blocks, until `deadline`.
    pub(crate) fn recordings(&self, deadline: Instant) -> Vec<Recordings> {
        let folders = std::fs::read_dir(&self.around.root).into_iter().flatten().filter_map(Result::ok);
        let recordings = folders.filter(|entry| entry.path().is_dir()).filter_map(|entry| {
            let id = entry.file_name().into_string().ok()?;
            let sessions: Vec<String> = std::fs::read_dir(entry.path())
                .ok()?
                .filter_map(|session| session.ok()?.file_name().into_string().ok())
                .filter(|name| is_session(name))
                .collect();
            let each = sessions.iter().map(|session| measure(&entry.path().join(session), deadline));
            let usage = each.fold(Usage::default(), Usage::and);
            let named = self.settings.get(&id).map(|camera| camera.name).filter(|name| !name.is_empty());
            Some(Recordings {
                name: named.unwrap_or_else(|| id.clone()),
                id,
                sessions: sessions.len(),
                oldest: sessions.into_iter().min(),
                usage,
            })
        });
        recordings.filter(|camera| camera.sessions > 0).collect()
    }
}

/// Sessions of a camera that was removed are still there.
fn camera_folder(cameras: &Cameras, id: &str) -> Result<PathBuf, Problem> {
    let plain = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let folder = cameras.around.root.join(id);
    if id.is_empty() || !plain || !folder.is_dir() {
        return Err(super::unknown(id));
    }
    Ok(folder)
}

fn session_folder(cameras: &Cameras, id: &str, session: &str) -> Result<PathBuf, Problem> {
    if !is_session(session) {
        return Err(missing(session));
    }
    Ok(camera_folder(cameras, id)?.join(session))
}

/// `20261121-133000`, with a number behind it when there were several in a second.
fn is_session(name: &str) -> bool {
    name.len() >= 15 && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

fn missing(session: &str) -> Problem {
    let detail = format!(
        "There is no session {session}, or no such file in it; it may have made room for newer ones."
    );
    Problem::new(StatusCode::NOT_FOUND, "unknown-session", "There is no such session", detail)
}
