//! `/api/v1/cameras`: the cameras themselves, and what they see now.

use std::convert::Infallible;
use std::ops::Range;

use actionbooster_cameras::{Camera, Source};
use actionbooster_chassis::auth::Caller;
use actionbooster_chassis::{Json, Problem};
use async_stream::stream;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Cameras, lock, unknown};
use crate::Shared;
use crate::asker::require_admin;

/// Between the pictures of a live view.
const BOUNDARY: &str = "picture";

/// `GET /api/v1/cameras`.
pub(super) async fn list(State(agent): State<Shared>) -> Json<Value> {
    let cameras: Vec<Value> =
        agent.cameras.settings.all().iter().map(|camera| told(&agent.cameras, camera)).collect();
    Json(json!({"cameras": cameras}))
}

/// `POST /api/v1/cameras`.
pub(super) async fn add(
    State(agent): State<Shared>,
    caller: Caller,
    Json(camera): Json<Camera>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    require_admin(&caller)?;
    let camera = with_password(camera, None)?;
    agent.cameras.put(camera.clone(), true).await?;
    Ok((StatusCode::CREATED, Json(told(&agent.cameras, &camera))))
}

/// `GET /api/v1/cameras/{id}`.
pub(super) async fn show(
    State(agent): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let camera = agent.cameras.settings.get(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(told(&agent.cameras, &camera)))
}

/// `PUT /api/v1/cameras/{id}`: all of its settings. An address as it is told, with `***`, keeps its password. A
/// running session ends.
pub(super) async fn change(
    State(agent): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Json(camera): Json<Camera>,
) -> Result<Json<Value>, Problem> {
    require_admin(&caller)?;
    if camera.id != id {
        let detail =
            format!("The address names the camera {id} and the body {}; they must be the same.", camera.id);
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This is no camera", detail));
    }
    let kept = agent.cameras.settings.get(&id);
    let camera = with_password(camera, kept.as_ref())?;
    agent.cameras.put(camera.clone(), false).await?;
    Ok(Json(told(&agent.cameras, &camera)))
}

/// `DELETE /api/v1/cameras/{id}`: its sessions stay.
pub(super) async fn remove(
    State(agent): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    require_admin(&caller)?;
    agent.cameras.remove(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/v1/cameras/{id}/snapshot`: the latest picture.
pub(super) async fn snapshot(
    State(agent): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let live = watched(&agent.cameras, &id)?;
    let latest = live.borrow().clone();
    let latest = latest.ok_or_else(|| {
        let detail =
            format!("The camera {id} has given no picture yet; GET /api/v1/cameras/{id} says how it stands.");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-picture", "There is no picture yet", detail)
            .retry_after(2)
    })?;
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, latest.jpeg).into_response())
}

/// `GET /api/v1/cameras/{id}/live`: pictures as they come, as browsers show them in an `img` (MJPEG). A slow
/// viewer misses pictures.
pub(super) async fn live(State(agent): State<Shared>, Path(id): Path<String>) -> Result<Response, Problem> {
    let mut live = watched(&agent.cameras, &id)?;
    let closing = agent.pool.closing().clone();
    live.mark_changed();
    let pictures = stream! {
        loop {
            let changed = tokio::select! {
                changed = live.changed() => changed,
                () = closing.cancelled() => return,
            };
            if changed.is_err() {
                return;
            }
            let Some(latest) = live.borrow_and_update().clone() else { continue };
            let head = format!(
                "--{BOUNDARY}\r\ncontent-type: image/jpeg\r\ncontent-length: {}\r\n\r\n",
                latest.jpeg.len()
            );
            yield Ok::<Bytes, Infallible>(head.into());
            yield Ok(latest.jpeg);
            yield Ok("\r\n".into());
        }
    };
    let kind = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store".into())];
    Ok((headers, Body::from_stream(pictures)).into_response())
}

fn watched(
    cameras: &Cameras,
    id: &str,
) -> Result<tokio::sync::watch::Receiver<Option<actionbooster_cameras::Live>>, Problem> {
    if let Some(running) = lock(&cameras.running).get(id) {
        return Ok(running.live.clone());
    }
    if cameras.settings.get(id).is_none() {
        return Err(unknown(id));
    }
    let detail = format!("The camera {id} is switched off; enable it to see what it sees.");
    Err(Problem::new(StatusCode::CONFLICT, "off", "The camera is off", detail))
}

/// A camera as clients see it: its settings without the password of its address, and how it stands.
fn told(cameras: &Cameras, camera: &Camera) -> Value {
    let mut told = json!(camera);
    if let Some(url) = told.pointer_mut("/source/url") {
        *url = json!(without_password(url.as_str().unwrap_or_default()));
    }
    let running = lock(&cameras.running);
    let state = running.get(&camera.id).map(|running| lock(&running.state).clone());
    told["running"] = json!(state.is_some());
    let state = state.flatten().unwrap_or_default();
    for part in ["state", "source_state", "detector", "session"] {
        let from = if part == "source_state" { "source" } else { part };
        told[part] = state.get(from).cloned().unwrap_or_default();
    }
    told
}

/// What stands for a password that is not told.
const HIDDEN: &str = "***";

/// The camera with the password of the address that is kept, where it comes back as it was told. One that comes
/// back with another address cannot be known: the camera's password must not go to another host.
fn with_password(mut camera: Camera, kept: Option<&Camera>) -> Result<Camera, Problem> {
    let address = |source: &Source| match source {
        Source::Rtsp { url } | Source::Http { url } => Some(url.clone()),
        Source::V4l2 { .. } | Source::File { .. } | Source::Folder { .. } => None,
    };
    let Some(url) =
        address(&camera.source).filter(|url| password(url).is_some_and(|place| url[place] == *HIDDEN))
    else {
        return Ok(camera);
    };
    match kept.map(|kept| &kept.source) {
        Some(source) if address(source).is_some_and(|own| without_password(&own) == url) => {
            camera.source = source.clone();
            Ok(camera)
        }
        _ => {
            let detail = format!(
                "source: {HIDDEN} stands for the password that is kept, and this is another address; write its password"
            );
            let problem =
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This is no camera", detail);
            Err(problem.with("param", "source"))
        }
    }
}

/// `rtsp://user:secret@host/` as `rtsp://user:***@host/`.
fn without_password(url: &str) -> String {
    match password(url).filter(|place| !place.is_empty()) {
        Some(place) => format!("{}{HIDDEN}{}", &url[..place.start], &url[place.end..]),
        None => url.to_owned(),
    }
}

/// Where the password of an address stands.
fn password(url: &str) -> Option<Range<usize>> {
    let start = url.find("://")? + "://".len();
    let authority = url[start..].split(['/', '?', '#']).next()?;
    let (login, _) = authority.rsplit_once('@')?;
    let user = login.find(':')?;
    Some(start + user + 1..start + login.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_addresses_are_not_told() {
        for (url, shown) in [
            ("rtsp://owner:secret@10.0.0.2:554/live?x=@", "rtsp://owner:***@10.0.0.2:554/live?x=@"),
            ("rtsp://owner:p@ss@10.0.0.2/a", "rtsp://owner:***@10.0.0.2/a"),
            ("rtsp://owner:secret@10.0.0.2?x=@", "rtsp://owner:***@10.0.0.2?x=@"),
            ("rtsp://owner@10.0.0.2/a", "rtsp://owner@10.0.0.2/a"),
            ("http://10.0.0.2/a:b@c", "http://10.0.0.2/a:b@c"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn a_password_that_comes_back_as_it_was_told_stays_and_goes_to_no_other_host() {
        let camera = |url: &str| Camera::new("door", Source::Rtsp { url: url.into() }, "shapes");
        let kept = camera("rtsp://owner:secret@10.0.0.2/live");
        let same = with_password(camera("rtsp://owner:***@10.0.0.2/live"), Some(&kept)).expect("known");
        assert_eq!(same, kept);
        let other = camera("rtsp://owner:own@10.0.0.3/live");
        assert_eq!(with_password(other.clone(), Some(&kept)).expect("all is told"), other);
        for url in ["rtsp://owner:***@10.0.0.3/live", "rtsp://guest:***@10.0.0.2/live"] {
            let problem = with_password(camera(url), Some(&kept)).expect_err("another place");
            assert!(problem.detail().contains("write its password"), "{url}: {problem:?}");
        }
        assert!(with_password(camera("rtsp://owner:***@10.0.0.2/live"), None).is_err(), "nothing is kept");
        let folder = Camera::new("door", Source::Folder { path: "/pictures".into(), repeat: true }, "shapes");
        assert_eq!(with_password(folder.clone(), Some(&kept)).expect("no address"), folder);
    }
}
