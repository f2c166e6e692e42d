//! What happens to every request before and after its handler.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use rand::Rng;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::decompression::RequestDecompressionLayer;
use tracing::Instrument;

use crate::auth::{self, Authenticator, Caller, Scope};
use crate::body::{BodyLimit, bounded, check_encoding};
use crate::client::{Client, Peer};
use crate::health::{Health, Report};
use crate::holding_body::HoldingBody;
use crate::limits::Limits;
use crate::memory_budget::{MemoryBudget, Reservation, refused};
use crate::problem::Problem;
use crate::request_limiter::{RequestLimiter, RequestPermit};
use crate::service::{Rules, Service, reshape};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const METRICS: &str = "/metrics";
/// Bodies of at most so many bytes are read whether the handler wants them or not.
const SMALL_BODY: u64 = 16 * 1024;

struct Shared {
    auth: Authenticator,
    rules: Arc<Rules>,
    memory: MemoryBudget,
    requests: RequestLimiter,
    answer_limit: Duration,
}

/// The daemon's routes with everything around them.
pub(crate) fn assemble(
    service: Service,
    auth: Authenticator,
    health: Health,
    version: &'static str,
    metrics: PrometheusHandle,
    limits: Limits,
) -> Router {
    let rules = Arc::new(service.rules);
    let memory = MemoryBudget::new(limits.bodies, rules.largest_body());
    let answer_limit = service.answer_limit.unwrap_or(limits.answer);
    let requests = RequestLimiter::new(limits.connections);
    let shared = Arc::new(Shared { auth, rules: Arc::clone(&rules), memory, requests, answer_limit });
    let source = service.health;
    let report = move |request: Request| {
        let own = Report::of(version, health.components());
        let source = source.clone();
        async move {
            let report = match source {
                Some(source) => source().await,
                None => own,
            };
            axum::Json(if sees_details(&request) { report } else { report.without_details() })
        }
    };
    let missing = Arc::clone(&rules);
    service
        .router
        .route("/health", get(report))
        .route(METRICS, get(move || async move { metrics.render() }))
        .fallback(move |request: Request| async move { not_found(request.uri().path(), &missing) })
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(rules.body_limit))
        .layer(middleware::from_fn(bounded))
        .layer(RequestDecompressionLayer::new())
        .layer(middleware::from_fn_with_state(shared, guard))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            reshape(Arc::clone(&rules), request, next)
        }))
        .layer(middleware::from_fn(observe))
}

/// Details name files, models and cameras: they are for the owner, for keys that may read, and for the
/// programs of this box, of which the monitor passes them on.
fn sees_details(request: &Request) -> bool {
    let extensions = request.extensions();
    let reads = extensions.get::<Caller>().is_some_and(|caller| caller.may(Scope::Read));
    reads || extensions.get::<Client>().is_some_and(|client| client.is_on_this_box())
}

fn not_found(path: &str, rules: &Rules) -> Problem {
    let meant = rules.suggestion(path).map_or_else(String::new, |meant| {
        format!(" Did you mean {meant}? Look at the base URL that the program was given.")
    });
    let detail = format!("No route {path} exists.{meant}");
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here", detail)
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
async fn guard(
    State(shared): State<Arc<Shared>>,
    client: Client,
    mut request: Request,
    next: Next,
) -> Response {
    let rules = shared.rules.of(&request);
    let body_limit = rules.body_limit;
    if let Some(length) = content_length(&request)
        && length > body_limit as u64
    {
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The request is too large",
            format!("The body has {length} bytes; at most {body_limit} are accepted here."),
        )
        .into_response();
    }
    if let Err(problem) = check_encoding(request.headers()) {
        return problem.into_response();
    }
    request.extensions_mut().insert(BodyLimit(body_limit));
    let caller = match identify(&shared.auth, client, request.method(), request.headers()).await {
        Ok(caller) => caller,
        // Where nobody need be known, keys that cannot be checked must not stand in the way.
        Err(problem) if problem.status().is_server_error() && rules.is_public() => None,
        Err(problem) => return problem.into_response(),
    };
    // A collector of metrics on the box needs no key, nor do the daemons among themselves.
    let open = client.is_on_this_box() && (request.uri().path() == METRICS || rules.is_local());
    if !open && let Err(problem) = rules.permit(caller.as_ref()) {
        return problem.into_response();
    }
    let permit = match shared.requests.admit(caller.as_ref()) {
        Ok(permit) => permit,
        Err(problem) => return problem.into_response(),
    };
    let who =
        caller.as_ref().map_or_else(|| client.network().to_string(), |caller| caller.label().to_owned());
    let reservation = (has_body(&request) && !rules.streams_body).then(|| shared.memory.begin(who));
    if let Some(reservation) = &reservation {
        if let Err(refusal) = reservation.grow_to(content_length(&request).unwrap_or(0)) {
            return refused(refusal).into_response();
        }
        request.extensions_mut().insert(Arc::clone(reservation));
    }
    if let Some(caller) = caller {
        metrics::counter!("http_caller_requests_total", "caller" => caller.label().to_owned()).increment(1);
        request.extensions_mut().insert(caller);
    }
    let request = match with_small_body_read(request).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let answer = tokio::time::timeout(shared.answer_limit, next.run(request)).await;
    let response = answer.unwrap_or_else(|_| too_slow(shared.answer_limit).into_response());
    with_its_share(response, permit, reservation)
}

fn too_slow(limit: Duration) -> Problem {
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "timeout",
        "The answer took too long",
        format!("Nothing was ready after {} seconds. Try again, or ask for less.", limit.as_secs()),
    )
}

/// Keeps what the request takes until its answer has left, unless its body was cut for want of memory.
fn with_its_share(
    response: Response,
    permit: Option<RequestPermit>,
    reservation: Option<Arc<Reservation>>,
) -> Response {
    if let Some(refusal) = reservation.as_ref().and_then(|reservation| reservation.refusal()) {
        return refused(refusal).into_response();
    }
    response.map(|body| Body::new(HoldingBody::new(body, (permit, reservation))))
}

/// Reads a small body before the handler runs. A connection with an unread body cannot be used again, and
/// whoever keeps it open for the next request would find it closed.
async fn with_small_body_read(request: Request) -> Result<Request, Problem> {
    if !content_length(&request).is_some_and(|length| (1..=SMALL_BODY).contains(&length)) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let read = axum::body::to_bytes(body, SMALL_BODY as usize).await;
    let bytes = read.map_err(|error| {
        let detail = format!("The body ended early ({error}); send the request again.");
        Problem::new(StatusCode::BAD_REQUEST, "cut", "The body ended early", detail)
    })?;
    Ok(Request::from_parts(parts, axum::body::Body::from(bytes)))
}

/// Whoever shows a key or a session is that caller or nobody, root too.
async fn identify(
    auth: &Authenticator,
    client: Client,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Caller>, Problem> {
    if auth::carries_credentials(headers) {
        return auth.identify(method, headers).await;
    }
    Ok((client == Client::Console).then_some(Caller::Console))
}

/// Request id, span, metrics by route.
async fn observe(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_harmless(id)).cloned();
    let id = given.unwrap_or_else(new_request_id);
    let client = Client::of(request.extensions().get::<Peer>().copied(), request.headers());
    request.extensions_mut().insert(client);
    // Never the raw path or method: a stranger could fill memory with label values.
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = known_method(request.method());
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), method, %route, %client);
    let started = Instant::now();
    let has_body = !request.body().is_end_stream();
    let mut response = next.run(request).instrument(span.clone()).await;
    if has_body && response.status().as_u16() >= 400 {
        // Something of the body may be unread: who keeps connections open must not use this one again.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    metrics::counter!("http_requests_total", "route" => route.clone(), "method" => method,
        "status" => status.to_string())
    .increment(1);
    metrics::histogram!("http_request_seconds", "route" => route).record(elapsed.as_secs_f64());
    span.in_scope(|| tracing::debug!(status, elapsed_ms = elapsed.as_millis() as u64, "answered"));
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
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

fn has_body(request: &Request) -> bool {
    content_length(request)
        .map_or_else(|| request.headers().contains_key(header::TRANSFER_ENCODING), |length| length > 0)
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
mod tests;
