use std::path::Path;

use actionbooster_chassis::auth::{SCHEMA, Scope, token_hash};
use actionbooster_chassis::axum::Router;
use actionbooster_chassis::axum::body::Body;
use actionbooster_chassis::axum::http::{Method, Request, StatusCode};
use actionbooster_chassis::health::Health;
use actionbooster_chassis::routes::Access;
use actionbooster_chassis::{Boot, Paths};
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::Config;

mod dialects;

/// A database with a key `ab_SCOPE` for each scope, and `ab_both` for `read` and `infer`.
fn make_keys(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
    let database = Connection::open(path).expect("database");
    database.execute_batch(SCHEMA).expect("schema");
    database.execute("INSERT INTO owner VALUES (1, 'ana', 'x', 0)", []).expect("owner");
    let alone = Scope::ALL.map(|scope| (scope.as_str(), scope.as_str()));
    for (name, scopes) in alone.into_iter().chain([("both", "read infer")]) {
        let hash = token_hash(&format!("ab_{name}"));
        let key = (name, scopes, hash);
        database.execute("INSERT INTO api_key VALUES (?1, ?1, ?2, ?3, 'ab_…', 0)", key).expect("key");
    }
}

/// An agent without models, as the network sees it.
async fn agent(root: &Path) -> Router {
    let paths = Paths::below(root);
    make_keys(&paths.auth_database());
    std::fs::create_dir_all(paths.vendor()).expect("folder");
    let catalog = concat!(env!("CARGO_MANIFEST_DIR"), "/../../provisioning/models.toml");
    std::fs::copy(catalog, paths.vendor().join("models.toml")).expect("catalog");
    let boot = Boot {
        config: Config::default(),
        paths: paths.clone(),
        shutdown: CancellationToken::new(),
        health: Health::default(),
        version: "1.0",
    };
    crate::start(boot).await.expect("starts").assembled(&paths)
}

/// Sends a body that no handler can read, so that whoever sees it parsed sees 400.
async fn ask(agent: &Router, method: &Method, path: &str, key: Option<&str>) -> StatusCode {
    let mut request = Request::builder().method(method).uri(path).header("content-length", "1");
    if let Some(key) = key {
        request = request.header("x-api-key", format!("ab_{key}"));
    }
    let request = request.body(Body::from("{")).expect("request");
    agent.clone().oneshot(request).await.expect("infallible").status()
}

/// Whether a key may use what needs this.
fn permits(access: Access, key: Option<&str>) -> bool {
    let has = |scope: Scope| key.is_some_and(|key| key == scope.as_str() || key == "admin");
    let both = |scope: Scope| key == Some("both") && [Read, Infer].contains(&scope);
    let has = |scope: Scope| has(scope) || both(scope);
    match access {
        Access::Public => true,
        Access::Local => has(Read),
        Access::Scope(scope) => has(scope),
        Access::Either(first, second) => has(first) || has(second),
    }
}

#[tokio::test]
async fn every_route_lets_in_whom_the_table_names_and_nobody_else_before_it_reads_a_body() {
    let root = tempfile::tempdir().expect("folder");
    let agent = agent(root.path()).await;
    for route in table() {
        let path: String = route
            .path()
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        for key in
            [None, Some("unknown"), Some("infer"), Some("jobs"), Some("read"), Some("both"), Some("admin")]
        {
            let status = ask(&agent, route.method(), &path, key).await;
            let known = key.is_some_and(|key| key != "unknown");
            let what = format!("{} {path} with {key:?}: {status}", route.method());
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
            if permits(route.access(), key) {
                assert!(!refused, "{what}");
                assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{what}");
            } else {
                let expected = if known { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
                assert_eq!(status, expected, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn what_the_table_does_not_name_is_told_to_those_who_may_ask_there() {
    let root = tempfile::tempdir().expect("folder");
    let agent = agent(root.path()).await;
    let cases = [
        (Method::GET, "/v1/none", "infer", 404),
        (Method::GET, "/v1/none", "read", 403),
        (Method::POST, "/v1/messages/batches", "infer", 404),
        (Method::GET, "/api/v1/assets/x/none", "infer", 404),
        (Method::GET, "/api/v1/models/x/none", "read", 404),
        (Method::GET, "/api/v1/models/x/none", "infer", 403),
        (Method::GET, "/none", "read", 404),
        (Method::GET, "/none", "infer", 403),
        (Method::GET, "/query", "infer", 405),
        (Method::GET, "/query", "read", 403),
        (Method::PUT, "/api/v1/models", "read", 405),
        (Method::PUT, "/api/v1/assets", "infer", 405),
        (Method::HEAD, "/api/v1/models", "read", 200),
        (Method::HEAD, "/api/v1/models", "infer", 403),
    ];
    for (method, path, key, expected) in cases {
        let status = ask(&agent, &method, path, Some(key)).await;
        assert_eq!(status.as_u16(), expected, "{method} {path} with {key}");
    }
}

#[tokio::test]
async fn who_was_given_a_wrong_base_url_is_told_the_right_path() {
    let root = tempfile::tempdir().expect("folder");
    let agent = agent(root.path()).await;
    for (path, meant) in [
        ("/v1/chat/completions/", "/v1/chat/completions?"),
        ("/v1//models", "/v1/models?"),
        ("/v1/v1/messages", "/v1/messages?"),
        ("/v1/api/chat", "/api/chat?"),
        ("/v1/api/v1/models", "/api/v1/models?"),
    ] {
        let request = Request::builder().uri(path).header("x-api-key", "ab_infer").body(Body::empty());
        let response = agent.clone().oneshot(request.expect("request")).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        let told = actionbooster_chassis::axum::body::to_bytes(response.into_body(), 1 << 16).await;
        let told: serde_json::Value = serde_json::from_slice(&told.expect("body")).expect("JSON");
        let message = told["error"]["message"].as_str().expect("OpenAI's shape");
        assert!(message.contains(&format!("Did you mean {meant}")), "{path}: {message}");
    }
}

#[test]
fn an_answer_may_take_about_as_long_as_nginx_waits_for_it() {
    let proxy = include_str!("../../../../nginx/conf/snippets/agent-proxy.conf");
    let waits = proxy.lines().find_map(|line| line.trim().strip_prefix("proxy_read_timeout "));
    assert_eq!(waits, Some("1h;"));
    assert!((3570..3600).contains(&ANSWER_LIMIT.as_secs()), "{ANSWER_LIMIT:?}");
}

#[tokio::test]
async fn bodies_are_as_large_as_the_table_says() {
    let root = tempfile::tempdir().expect("folder");
    let agent = agent(root.path()).await;
    let cases = [
        (Method::POST, "/query", BODY_LIMIT, 400),
        (Method::POST, "/query", BODY_LIMIT + 1, 413),
        (Method::PUT, "/api/v1/models/uploads/x?offset=0", PIECE, 404),
        (Method::PUT, "/api/v1/models/uploads/x?offset=0", PIECE + 1, 413),
        (Method::POST, "/api/v1/models/uploads", BODY_LIMIT + 1, 413),
    ];
    for (method, path, bytes, expected) in cases {
        let request = Request::builder().method(&method).uri(path).header("x-api-key", "ab_admin");
        let request =
            request.header("content-length", bytes.to_string()).body(Body::from("{")).expect("request");
        let status = agent.clone().oneshot(request).await.expect("infallible").status();
        assert_eq!(status.as_u16(), expected, "{method} {path} with {bytes} bytes");
    }
}
