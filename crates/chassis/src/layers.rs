//! What happens to every request before and after its handler.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use rand::Rng;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use crate::auth::{AuthReader, Caller};
use crate::health::{Health, Report};
use crate::problem::Problem;
use crate::service::{Rules, Service, reshape};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// How long a handler may take until it begins to answer; the body may take as long as it likes.
const ANSWER_LIMIT: Duration = Duration::from_secs(600);

/// Marks a request that came from root over a Unix socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FromRoot;

struct Shared {
    auth: AuthReader,
    rules: Rules,
    body_limit: usize,
}

/// The daemon's routes with everything around them.
pub(crate) fn assemble(
    service: Service,
    auth: AuthReader,
    health: Health,
    version: &'static str,
    metrics: PrometheusHandle,
) -> Router {
    let shared = Arc::new(Shared { auth, rules: service.rules, body_limit: service.body_limit });
    let source = service.health;
    let report = move || {
        let own = Report::of(version, health.components());
        let source = source.clone();
        async move {
            let report = match source {
                Some(source) => source().await,
                None => own,
            };
            axum::Json(report)
        }
    };
    let shapes: Arc<[_]> = service.error_shapes.into();
    service
        .router
        .route("/health", get(report))
        .route("/metrics", get(move || async move { metrics.render() }))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(shared.body_limit))
        .layer(middleware::from_fn_with_state(shared, guard))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            reshape(shapes.clone(), request, next)
        }))
        .layer(middleware::from_fn(observe))
}

async fn not_found(request: Request) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "There is nothing here",
        format!("No route {} exists.", request.uri().path()),
    )
}

async fn wrong_method(request: Request) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "This cannot be done here",
        format!("{} does not accept {}.", request.uri().path(), request.method()),
    )
}

#[expect(clippy::needless_pass_by_value, reason = "the layer calls it with an owned cause")]
fn panicked(cause: Box<dyn std::any::Any + Send>) -> Response {
    let words = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    metrics::counter!("http_handler_panics_total").increment(1);
    Problem::internal(format!("a handler panicked: {words}")).into_response()
}

/// Finds out who asks, and whether they may.
async fn guard(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    if let Some(length) = content_length(&request)
        && length > shared.body_limit as u64
    {
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The request is too large",
            format!("The body has {length} bytes; at most {} are accepted here.", shared.body_limit),
        )
        .into_response();
    }
    // What nginx passes on comes from the network, whichever account nginx runs as.
    let from_root =
        request.extensions().get::<FromRoot>().is_some() && !request.headers().contains_key(FORWARDED_FOR);
    let identified = shared.auth.identify(request.method(), request.headers(), unix_now());
    let caller = match identified {
        Ok(Some(caller)) => Some(caller),
        Ok(None) if from_root => Some(Caller::Console),
        Ok(None) => None,
        Err(problem) => return problem.into_response(),
    };
    if let Err(problem) = shared.rules.permit(request.uri().path(), caller.as_ref()) {
        return problem.into_response();
    }
    if let Some(caller) = caller {
        metrics::counter!("http_caller_requests_total", "caller" => caller.label().to_owned()).increment(1);
        request.extensions_mut().insert(caller);
    }
    match tokio::time::timeout(ANSWER_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "The answer took too long",
            format!(
                "Nothing was ready after {} seconds. Try again, or ask for less.",
                ANSWER_LIMIT.as_secs()
            ),
        )
        .into_response(),
    }
}

/// Request id, span, metrics by route.
async fn observe(request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_harmless(id)).cloned();
    let id = given.unwrap_or_else(new_request_id);
    // Never the raw path: a stranger could fill memory with label values.
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), %method, %route);
    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    metrics::counter!("http_requests_total", "route" => route.clone(), "method" => method.to_string(),
        "status" => status.to_string())
    .increment(1);
    metrics::histogram!("http_request_seconds", "route" => route).record(elapsed.as_secs_f64());
    span.in_scope(|| tracing::debug!(status, elapsed_ms = elapsed.as_millis() as u64, "answered"));
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn is_harmless(id: &HeaderValue) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=64).contains(&id.len()) && id.as_bytes().iter().all(allowed)
}

fn new_request_id() -> HeaderValue {
    let mut bytes = [0_u8; 8];
    rand::rng().fill_bytes(&mut bytes);
    HeaderValue::from_str(&format!("{:016x}", u64::from_be_bytes(bytes)))
        .unwrap_or_else(|_| HeaderValue::from_static("none"))
}

fn content_length(request: &Request) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Seconds since 1970; 0 on a clock before that.
pub fn unix_now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::post;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tower::ServiceExt;

    use super::*;
    use crate::auth::Scope;

    async fn panics() {
        panic!("on purpose");
    }

    fn router() -> Router {
        let routes = Router::new()
            .route("/open", get(|| async { "open" }))
            .route("/read", get(|| async { "read" }))
            .route("/infer", post(|body: String| async move { body }))
            .route("/v1/panic", get(panics))
            .route("/panic", get(panics));
        let service = Service::new(routes)
            .public(&["/open"])
            .scope(Scope::Infer, &["/infer"])
            .body_limit(16)
            .error_shape("/v1/", |problem| (problem.status(), "their shape").into_response());
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        assemble(service, AuthReader::new("/nowhere/auth.db".into()), Health::default(), "1.0", metrics)
    }

    async fn send(
        method: &str,
        path: &str,
        root: bool,
        body: &'static str,
    ) -> (StatusCode, String, Response) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-length", body.len())
            .body(Body::from(body))
            .expect("request");
        if root {
            request.extensions_mut().insert(FromRoot);
        }
        let response = router().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("body");
        (
            parts.status,
            String::from_utf8_lossy(&bytes).into_owned(),
            Response::from_parts(parts, Body::empty()),
        )
    }

    #[tokio::test]
    async fn requests_are_permitted_or_refused_by_rule() {
        let cases = [
            ("GET", "/open", false, "", 200),
            ("GET", "/health", false, "", 200),
            ("GET", "/read", false, "", 401),
            ("GET", "/metrics", false, "", 401),
            ("GET", "/unknown", false, "", 401),
            ("GET", "/read", true, "", 200),
            ("GET", "/metrics", true, "", 200),
            ("GET", "/unknown", true, "", 404),
            ("GET", "/infer", true, "", 405),
            ("POST", "/infer", true, "sixteen bytes ok", 200),
            ("POST", "/infer", true, "seventeen bytes!!", 413),
            ("GET", "/panic", true, "", 500),
        ];
        for (method, path, root, body, expected) in cases {
            let (status, text, response) = send(method, path, root, body).await;
            assert_eq!(status.as_u16(), expected, "{method} {path} as root={root}: {text}");
            assert!(response.headers().contains_key(&REQUEST_ID), "{path} has no request id");
            if status.is_client_error() || status.is_server_error() {
                assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
                assert!(text.contains("\"detail\""), "{path}: {text}");
            }
        }
    }

    #[tokio::test]
    async fn a_request_that_nginx_passes_on_is_never_the_console() {
        let request = Request::get("/read").header(FORWARDED_FOR, "192.0.2.1").body(Body::empty());
        let mut request = request.expect("request");
        request.extensions_mut().insert(FromRoot);
        let response = router().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn errors_of_a_compatible_surface_have_its_own_shape() {
        for (path, root, status) in
            [("/v1/none", false, 401), ("/v1/none", true, 404), ("/v1/panic", true, 500)]
        {
            let (got, text, _) = send("GET", path, root, "").await;
            assert_eq!((got.as_u16(), text.as_str()), (status, "their shape"), "{path}");
        }
    }
}
