use axum::body::Body;
use metrics_exporter_prometheus::PrometheusBuilder;
use rusqlite::Connection;
use tower::ServiceExt;

use super::*;
use crate::auth::{AuthReader, SCHEMA, token_hash};
use crate::health::Status;
use crate::routes::{Access, delete, get, post};

mod memory;

const ROOT: Option<Peer> = Some(Peer::Unix { uid: Some(0) });
const NGINX: Option<Peer> = Some(Peer::Unix { uid: Some(33) });

async fn panics() {
    panic!("on purpose");
}

/// Answers at once, with a body that takes 60 ms.
async fn stream() -> Body {
    Body::from_stream(futures::stream::unfold(0, |number| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        (number < 3).then(|| (Ok::<_, std::io::Error>(number.to_string()), number + 1))
    }))
}

/// A part with a reason that tells a file's name.
fn troubled() -> Health {
    let health = Health::default();
    health.set("models", Status::Degraded, "/var/lib/x/manifest.toml: line 3: id = \"secret\"");
    health
}

fn authenticator(database: &str) -> Authenticator {
    Authenticator::new(AuthReader::new(database.into())).expect("threads")
}

fn router(database: &str, limits: Limits) -> Router {
    let theirs = |problem: &Problem| (problem.status(), "their shape").into_response();
    let routes = vec![
        get("/open", Access::Public, || async { "open" }),
        get("/read", Scope::Read, || async { "read" }),
        post("/read", Scope::Read, || async { "changed" }),
        delete("/read", Scope::Admin, || async { "deleted" }),
        get("/usage", Access::Local, || async { "usage" }),
        post("/infer", Scope::Infer, |crate::Json(body): crate::Json<String>| async move { body }),
        post("/large", Scope::Infer, |crate::Json(body): crate::Json<String>| async move { body })
            .body_limit(32),
        get("/admin", Scope::Admin, || async { "admin" }),
        get("/either", Access::Either(Scope::Infer, Scope::Jobs), || async { "either" }),
        get("/slow", Scope::Read, std::future::pending::<()>),
        get("/stream", Scope::Read, stream),
        get("/v1/panic", Scope::Read, panics).errors(theirs),
        get("/panic", Scope::Read, panics),
    ];
    let service = Service::of(routes, ()).body_limit(16).error_shape("/v1/", theirs);
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    assemble(service, authenticator(database), troubled(), "1.0", metrics, limits)
}

fn request(method: &str, path: &str, peer: Option<Peer>, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).expect("request");
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    request
}

async fn answer(router: Router, request: Request) -> (StatusCode, String, Response) {
    let response = router.oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("body");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (parts.status, text, Response::from_parts(parts, Body::empty()))
}

async fn send(method: &str, path: &str, peer: Option<Peer>, body: &'static str) -> (u16, String, Response) {
    let length = body.len().to_string();
    let mut request = request(method, path, peer, &[("content-length", length.as_str())]);
    *request.body_mut() = Body::from(body);
    let (status, text, response) = answer(router("/nowhere/auth.db", Limits::default()), request).await;
    (status.as_u16(), text, response)
}

#[tokio::test]
async fn requests_are_permitted_or_refused_by_rule() {
    let cases = [
        ("GET", "/open", None, "", 200),
        ("GET", "/health", None, "", 200),
        ("GET", "/read", None, "", 401),
        ("GET", "/read", NGINX, "", 401),
        ("GET", "/metrics", None, "", 401),
        ("GET", "/metrics", NGINX, "", 200),
        ("GET", "/usage", None, "", 401),
        ("GET", "/usage", NGINX, "", 200),
        ("GET", "/unknown", None, "", 401),
        ("GET", "/read", ROOT, "", 200),
        ("GET", "/metrics", ROOT, "", 200),
        ("GET", "/unknown", ROOT, "", 404),
        ("GET", "/infer", ROOT, "", 405),
        ("POST", "/infer", ROOT, "\"sixteen bytes!\"", 200),
        ("POST", "/infer", ROOT, "\"seventeen bytes\"", 413),
        ("POST", "/infer", None, "\"seventeen bytes\"", 413),
        ("POST", "/infer", ROOT, "{", 400),
        ("POST", "/large", ROOT, "\"seventeen bytes\"", 200),
        ("POST", "/large", ROOT, "\"more than these thirty-two bytes\"", 413),
        ("POST", "/open", None, "", 405),
        ("HEAD", "/read", ROOT, "", 200),
        ("GET", "/panic", ROOT, "", 500),
    ];
    for (method, path, peer, body, expected) in cases {
        let (status, text, response) = send(method, path, peer, body).await;
        assert_eq!(status, expected, "{method} {path} from {peer:?}: {text}");
        assert!(response.headers().contains_key(&REQUEST_ID), "{path} has no request id");
        if status >= 400 {
            assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
            assert!(text.contains("\"detail\""), "{path}: {text}");
        }
    }
}

/// A database with a key `ab_SCOPE` for each scope, called "name of SCOPE".
fn with_keys() -> (tempfile::TempDir, String, Connection) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("auth.db");
    let database = Connection::open(&path).expect("database");
    database.execute_batch(SCHEMA).expect("schema");
    database.execute("INSERT INTO owner VALUES (1, 'ana', 'x', 0)", []).expect("owner");
    for scope in Scope::ALL {
        let word = scope.as_str();
        let (name, hash) = (format!("name of {word}"), token_hash(&format!("ab_{word}")));
        database
            .execute("INSERT INTO api_key VALUES (?1, ?2, ?1, ?3, 'ab_…', 0)", (word, name, hash))
            .expect("key");
    }
    let path = path.to_str().expect("path").to_owned();
    (folder, path, database)
}

#[tokio::test]
async fn keys_sessions_and_scopes_decide() {
    let (_folder, path, database) = with_keys();
    let ends = unix_now() + 60;
    database.execute("INSERT INTO session VALUES (?1, 0, ?2)", (token_hash("open"), ends)).expect("session");
    database.execute("INSERT INTO session VALUES (?1, 0, 1)", [token_hash("over")]).expect("session");
    let router = router(&path, Limits::default());

    let bearer = |word: &str| format!("Bearer ab_{word}");
    let cases = [
        ("GET", "/read", vec![("authorization", bearer("read"))], 200),
        ("GET", "/read", vec![("authorization", bearer("admin"))], 200),
        ("GET", "/read", vec![("authorization", bearer("infer"))], 403),
        ("GET", "/admin", vec![("authorization", bearer("read"))], 403),
        ("GET", "/admin", vec![("x-api-key", "ab_admin".to_owned())], 200),
        ("POST", "/infer", vec![("authorization", bearer("infer"))], 400),
        ("POST", "/infer", vec![("authorization", bearer("jobs"))], 403),
        ("DELETE", "/read", vec![("authorization", bearer("read"))], 403),
        ("DELETE", "/read", vec![("authorization", bearer("admin"))], 200),
        ("HEAD", "/read", vec![("authorization", bearer("infer"))], 403),
        ("PATCH", "/read", vec![("authorization", bearer("read"))], 405),
        ("PATCH", "/read", vec![("authorization", bearer("infer"))], 403),
        ("GET", "/either", vec![("authorization", bearer("read"))], 403),
        ("GET", "/either", vec![("authorization", bearer("infer"))], 200),
        ("GET", "/either", vec![("authorization", bearer("jobs"))], 200),
        ("GET", "/either", vec![("authorization", bearer("admin"))], 200),
        ("GET", "/read", vec![("authorization", bearer("unknown"))], 401),
        ("GET", "/open", vec![("authorization", bearer("unknown"))], 200),
        ("GET", "/admin", vec![("cookie", "booster_session=open".to_owned())], 200),
        ("GET", "/admin", vec![("cookie", "booster_session=over".to_owned())], 401),
        ("POST", "/read", vec![("cookie", "booster_session=open".to_owned())], 403),
    ];
    for (method, path, headers, expected) in &cases {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (status, text, _) = answer(router.clone(), request(method, path, NGINX, &headers)).await;
        assert_eq!(status.as_u16(), *expected, "{method} {path} {headers:?}: {text}");
    }
    for (origin, expected) in [("https://box", 200), ("https://elsewhere", 403)] {
        let headers = [("cookie", "booster_session=open"), ("host", "box"), ("origin", origin)];
        let (status, _, _) = answer(router.clone(), request("POST", "/read", NGINX, &headers)).await;
        assert_eq!(status.as_u16(), expected, "{origin}");
    }

    database.execute("DELETE FROM api_key WHERE id = 'read'", []).expect("revokes");
    let revoked = bearer("read");
    let headers = [("authorization", revoked.as_str())];
    let (status, _, response) = answer(router.clone(), request("GET", "/read", NGINX, &headers)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a revoked key is refused at once");
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
}

#[test]
fn keys_are_looked_up_while_slow_files_hold_every_other_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build();
    let runtime = runtime.expect("runtime");
    let (_folder, path, _database) = with_keys();
    let (ready, slow) = std::sync::mpsc::channel::<()>();
    let file = runtime.spawn_blocking(move || slow.recv());
    let asked =
        answer(router(&path, Limits::default()), request("GET", "/read", NGINX, &[("x-api-key", "ab_read")]));
    let answered = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), asked).await });
    assert_eq!(answered.expect("in time").0, StatusCode::OK);
    drop(ready);
    assert!(runtime.block_on(file).expect("ends").is_err());
}

#[tokio::test]
async fn streams_of_one_key_leave_connections_for_others() {
    let (_folder, path, _database) = with_keys();
    let router = router(&path, Limits { connections: 16, ..Limits::default() });
    let open = async |key: &'static str| {
        let request = request("GET", "/stream", NGINX, &[("x-api-key", key)]);
        router.clone().oneshot(request).await.expect("infallible")
    };
    let mut streams = Vec::new();
    for _ in 0..7 {
        streams.push(open("ab_read").await);
    }
    assert!(streams.iter().all(|stream| stream.status() == StatusCode::OK));
    let refused = open("ab_read").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &HeaderValue::from(5)));
    assert_eq!(open("ab_admin").await.status(), StatusCode::OK, "another key");
    drop(streams);
    assert_eq!(open("ab_read").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_refusal_whose_body_may_be_unread_ends_the_connection() {
    for (method, path, body, closes) in [
        ("POST", "/infer", "\"a body of more than is accepted\"", true),
        ("POST", "/read", "x", true),
        ("GET", "/admin", "", false),
        ("GET", "/open", "", false),
    ] {
        let (status, _, response) = send(method, path, NGINX, body).await;
        let told = response.headers().get(header::CONNECTION).map(HeaderValue::as_bytes);
        assert_eq!(told, closes.then_some(&b"close"[..]), "{method} {path}: {status}");
    }
}

#[tokio::test]
async fn root_with_a_wrong_key_is_nobody() {
    for header in [("x-api-key", "ab_wrong"), ("cookie", "booster_session=wrong")] {
        let request = request("GET", "/read", ROOT, &[header]);
        let (status, _, _) = answer(router("/nowhere/auth.db", Limits::default()), request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{header:?}");
    }
}

#[tokio::test]
async fn a_request_that_nginx_passes_on_is_never_the_console() {
    for forwarded in ["192.0.2.1", "", "nonsense"] {
        for path in ["/read", "/metrics", "/usage"] {
            let request = request("GET", path, ROOT, &[("x-forwarded-for", forwarded)]);
            let (status, _, _) = answer(router("/nowhere/auth.db", Limits::default()), request).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} {forwarded:?}");
        }
    }
}

#[tokio::test]
async fn errors_of_a_compatible_surface_have_its_own_shape() {
    for (path, peer, expected) in [("/v1/none", None, 401), ("/v1/none", ROOT, 404), ("/v1/panic", ROOT, 500)]
    {
        let (status, text, _) = send("GET", path, peer, "").await;
        assert_eq!((status, text.as_str()), (expected, "their shape"), "{path}");
    }
}

#[tokio::test]
async fn a_harmless_request_id_is_kept_and_another_replaced() {
    for (given, kept) in [("abc-1.2_3", true), ("a b", false), ("<script>", false), (&"x".repeat(65), false)]
    {
        let request = request("GET", "/open", None, &[("x-request-id", given)]);
        let (_, _, response) = answer(router("/nowhere/auth.db", Limits::default()), request).await;
        assert_eq!(response.headers()[&REQUEST_ID] == given, kept, "{given:?}");
    }
}

#[tokio::test]
async fn a_handler_that_never_answers_is_given_up() {
    let limits = Limits { answer: Duration::from_millis(10), ..Limits::default() };
    let (status, text, _) =
        answer(router("/nowhere/auth.db", limits), request("GET", "/slow", ROOT, &[])).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(text.contains("\"timeout\""), "{text}");
}

#[tokio::test]
async fn a_service_says_how_long_its_handlers_may_take() {
    let table = vec![get("/slow", Access::Public, std::future::pending::<()>)];
    let service = Service::of(table, ()).answer_limit(Duration::from_millis(10));
    let router = service.assembled(&crate::Paths::below("/nowhere"));
    let (status, _, _) = answer(router, request("GET", "/slow", NGINX, &[])).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_stream_may_take_longer_than_its_handler() {
    let limits = Limits { answer: Duration::from_millis(10), ..Limits::default() };
    let (status, text, _) =
        answer(router("/nowhere/auth.db", limits), request("GET", "/stream", ROOT, &[])).await;
    assert_eq!((status.as_u16(), text.as_str()), (200, "012"));
}

#[test]
fn metrics_count_by_route_and_never_by_what_a_stranger_sends() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            for (method, path) in [("GET", "/open"), ("GET", "/secret/1"), ("BREW", "/secret/2")] {
                let router = router("/nowhere/auth.db", Limits::default());
                answer(router, request(method, path, None, &[])).await;
            }
        });
    });
    let text = handle.render();
    assert!(text.contains(r#"http_requests_total{route="/open",method="GET",status="200"} 1"#), "{text}");
    assert!(text.contains(r#"route="unmatched",method="other""#), "{text}");
    assert!(!text.contains("secret") && !text.contains("BREW"), "{text}");
}

/// Where a request comes from, its headers, and whether it is told details.
type HealthCase<'a> = (Option<Peer>, &'a [(&'a str, &'a str)], bool);

#[tokio::test]
async fn only_those_who_may_read_see_why_a_part_is_unwell() {
    let (_folder, path, database) = with_keys();
    let ends = unix_now() + 60;
    database.execute("INSERT INTO session VALUES (?1, 0, ?2)", (token_hash("open"), ends)).expect("session");
    let router = router(&path, Limits::default());
    let passed_on = ("x-forwarded-for", "192.0.2.1");
    let cases: &[HealthCase] = &[
        (NGINX, &[passed_on], false),
        (NGINX, &[passed_on, ("x-api-key", "ab_unknown")], false),
        (NGINX, &[passed_on, ("x-api-key", "ab_infer")], false),
        (NGINX, &[passed_on, ("x-api-key", "ab_jobs")], false),
        (ROOT, &[passed_on], false),
        (None, &[], false),
        (NGINX, &[passed_on, ("x-api-key", "ab_read")], true),
        (NGINX, &[passed_on, ("x-api-key", "ab_admin")], true),
        (NGINX, &[passed_on, ("cookie", "booster_session=open")], true),
        (NGINX, &[], true),
        (ROOT, &[], true),
    ];
    for (peer, headers, told) in cases {
        let (status, text, _) = answer(router.clone(), request("GET", "/health", *peer, headers)).await;
        assert_eq!(status, StatusCode::OK, "{peer:?} {headers:?}: {text}");
        assert!(text.contains(r#""name":"models","status":"degraded""#), "{text}");
        assert_eq!(text.contains("manifest.toml"), *told, "{peer:?} {headers:?}: {text}");
    }
}

#[tokio::test]
async fn what_is_public_answers_though_keys_cannot_be_checked() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("auth.db");
    std::fs::write(&path, "this is no database, though it is long enough to look like one").expect("file");
    let router = router(path.to_str().expect("path"), Limits::default());
    for (path, expected) in [("/health", 200), ("/open", 200), ("/read", 500)] {
        let request = request("GET", path, NGINX, &[("cookie", "booster_session=open")]);
        let (status, text, _) = answer(router.clone(), request).await;
        assert_eq!(status.as_u16(), expected, "{path}: {text}");
    }
}

#[test]
fn metrics_tell_keys_apart_without_their_names() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let (_folder, path, _database) = with_keys();
    metrics::with_local_recorder(&recorder, || {
        let request = request("GET", "/read", NGINX, &[("x-api-key", "ab_read")]);
        runtime.block_on(answer(router(&path, Limits::default()), request));
    });
    let text = handle.render();
    assert!(text.contains(r#"http_caller_requests_total{caller="read"} 1"#), "{text}");
    assert!(!text.contains("name of"), "{text}");
}
