use std::path::Path;

use actionbooster_chassis::Paths;
use actionbooster_chassis::auth::{SCHEMA, Scope, token_hash};
use actionbooster_chassis::axum::Router;
use actionbooster_chassis::axum::body::Body;
use actionbooster_chassis::axum::http::{Method, Request, StatusCode};
use actionbooster_chassis::routes::Access;
use rusqlite::Connection;
use tower::ServiceExt;

use super::*;
use crate::fixture;

/// Rows that are open to read the key in a form, and need `infer` then.
const BY_FORM: &str = "/v1/vision/";

/// A worker without models, as the network sees it, and a key `ab_SCOPE` for each scope.
fn worker(root: &Path) -> Router {
    let paths = Paths::below(root);
    let database = paths.auth_database();
    std::fs::create_dir_all(database.parent().expect("folder")).expect("folder");
    let database = Connection::open(database).expect("database");
    database.execute_batch(SCHEMA).expect("schema");
    for scope in Scope::ALL {
        let name = scope.as_str();
        let key = (name, name, token_hash(&format!("ab_{name}")));
        database.execute("INSERT INTO api_key VALUES (?1, ?1, ?2, ?3, 'ab_…', 0)", key).expect("key");
    }
    service(fixture::worker(root)).assembled(&paths)
}

async fn ask(worker: &Router, method: &Method, path: &str, key: Option<&str>, body: String) -> StatusCode {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("content-type", "multipart/form-data; boundary=xx");
    if let Some(key) = key {
        request = request.header("x-api-key", format!("ab_{key}"));
    }
    let request = request.header("content-length", body.len()).body(Body::from(body)).expect("request");
    worker.clone().oneshot(request).await.expect("infallible").status()
}

/// Whether a key of this scope may use what needs this.
fn permits(route: &Route<Shared>, key: Option<&str>) -> bool {
    let has = |scope: Scope| key.is_some_and(|key| key == scope.as_str() || key == "admin");
    match route.access() {
        Access::Public => !route.path().starts_with(BY_FORM) || has(Infer),
        Access::Local => has(Read),
        Access::Scope(scope) => has(scope),
        Access::Either(first, second) => has(first) || has(second),
    }
}

const KEYS: [Option<&str>; 6] =
    [None, Some("unknown"), Some("infer"), Some("jobs"), Some("read"), Some("admin")];

#[tokio::test]
async fn every_route_lets_in_whom_the_table_names_and_nobody_else() {
    let root = tempfile::tempdir().expect("folder");
    let worker = worker(root.path());
    for route in table() {
        let path = route.path().replace("{name}", "x");
        for key in KEYS {
            let status = ask(&worker, route.method(), &path, key, "--xx--\r\n".into()).await;
            let what = format!("{} {path} with {key:?}: {status}", route.method());
            if permits(&route, key) {
                let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
                assert!(!refused && status != StatusCode::METHOD_NOT_ALLOWED, "{what}");
            } else {
                let known = key.is_some_and(|key| key != "unknown");
                let expected = if known { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
                assert_eq!(status, expected, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_form_s_key_counts_as_one_of_the_head_and_its_picture_is_not_read_before() {
    let root = tempfile::tempdir().expect("folder");
    let worker = worker(root.path());
    let field = |name: &str, value: &str| {
        format!("--xx\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    for route in table().into_iter().filter(|route| route.path().starts_with(BY_FORM)) {
        let path = route.path().replace("{name}", "x");
        for key in KEYS.into_iter().flatten() {
            let form =
                format!("{}{}--xx--\r\n", field("api_key", &format!("ab_{key}")), field("image", "text"));
            let status = ask(&worker, route.method(), &path, None, form).await;
            let expected = match (key, route.path()) {
                ("infer" | "admin", "/v1/vision/custom/list") => StatusCode::OK,
                // This is no picture.
                ("infer" | "admin", _) => StatusCode::BAD_REQUEST,
                ("unknown", _) => StatusCode::UNAUTHORIZED,
                _ => StatusCode::FORBIDDEN,
            };
            assert_eq!(status, expected, "{path} with {key}");
        }
    }
    // The rest of the picture never comes.
    let begun = field("image", "the first bytes of a picture");
    let status = ask(&worker, &Method::POST, "/v1/vision/detection", None, begun).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let long = field("api_key", &"x".repeat(10_000));
    let status = ask(&worker, &Method::POST, "/v1/vision/detection", None, long).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "a key that is longer than any");
}

#[tokio::test]
async fn what_the_table_does_not_name_is_told_to_those_who_may_ask_there() {
    let root = tempfile::tempdir().expect("folder");
    let worker = worker(root.path());
    for (method, path, key, expected) in [
        (Method::GET, "/v1/vision/face", "infer", 404),
        (Method::GET, "/v1/vision/face", "read", 403),
        (Method::GET, "/api/v1/detectors/x", "read", 404),
        (Method::PUT, "/api/v1/detectors", "infer", 403),
        (Method::PUT, "/api/v1/detectors", "read", 405),
    ] {
        let status = ask(&worker, &method, path, Some(key), String::new()).await;
        assert_eq!(status.as_u16(), expected, "{method} {path} with {key}");
    }
}
