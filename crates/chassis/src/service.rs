//! What a daemon hands to the chassis: its routes, and who may use which.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::auth::{AuthReader, Authenticator, Caller, Scope};
use crate::health::{Health, Report};
use crate::layers::assemble;
use crate::limits::Limits;
use crate::paths::Paths;
use crate::problem::Problem;
use crate::routes::{self, Access, Route, Row, Rows};
use crate::suggestion::suggestion;

/// Bytes of a request body when nothing else is said.
pub const DEFAULT_BODY_LIMIT: usize = 1024 * 1024;

pub(crate) type ErrorShape = Arc<dyn Fn(&Problem) -> Response + Send + Sync>;
pub(crate) type HealthSource = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Report> + Send>> + Send + Sync>;
pub(crate) type Drain = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A daemon's routes and their rules. Every path needs a caller we know unless a row makes it public.
pub struct Service {
    pub(crate) router: axum::Router,
    pub(crate) rules: Rules,
    pub(crate) health: Option<HealthSource>,
    pub(crate) on_drain: Option<Drain>,
    pub(crate) answer_limit: Option<Duration>,
}

/// Who may use what, how much they may send, and how errors are told: by row of the table, and by path where no
/// row says it.
pub(crate) struct Rules {
    rows: Rows,
    local: Vec<&'static str>,
    scopes: Vec<(Scope, &'static str)>,
    error_shapes: Vec<(&'static str, ErrorShape)>,
    pub(crate) body_limit: usize,
}

/// What the rules say about one request.
pub(crate) struct RequestRules {
    /// One of these is enough. There are several only where a route does not accept the method.
    accesses: Vec<Access>,
    /// Bytes of its body at most.
    pub(crate) body_limit: usize,
    /// Whether the handler keeps nothing of a body in memory.
    pub(crate) streams_body: bool,
    pub(crate) error_shape: Option<ErrorShape>,
}

impl Service {
    /// A service of these routes, none of them public, with rules by path.
    pub fn new(router: axum::Router) -> Self {
        let rules = Rules {
            rows: Rows::new(),
            local: Vec::new(),
            scopes: Vec::new(),
            error_shapes: Vec::new(),
            body_limit: DEFAULT_BODY_LIMIT,
        };
        Self { router, rules, health: None, on_drain: None, answer_limit: None }
    }

    /// A service of these rows, whose handlers work with `state`. What the rules by path say holds only where
    /// there is no route.
    pub fn of<S: Clone + Send + Sync + 'static>(table: Vec<Route<S>>, state: S) -> Self {
        let (router, rows) = routes::split(table, state);
        let mut service = Self::new(router);
        service.rules.rows = rows;
        service
    }

    /// Lets programs on this box use exactly these paths without a key: what daemons tell each other.
    #[must_use]
    pub fn local(mut self, paths: &[&'static str]) -> Self {
        self.rules.local.extend(paths);
        self
    }

    /// Requires `scope` for these paths; one that ends in `/` covers everything below it.
    #[must_use]
    pub fn scope(mut self, scope: Scope, paths: &[&'static str]) -> Self {
        self.rules.scopes.extend(paths.iter().map(|path| (scope, *path)));
        self
    }

    /// Refuses request bodies larger than this many bytes.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.rules.body_limit = bytes;
        self
    }

    /// Lets handlers take so long until they begin to answer, where that is more or less than usual.
    #[must_use]
    pub fn answer_limit(mut self, limit: Duration) -> Self {
        self.answer_limit = Some(limit);
        self
    }

    /// Gives errors below a path prefix the shape that clients of that surface expect.
    #[must_use]
    pub fn error_shape(
        mut self,
        prefix: &'static str,
        shape: impl Fn(&Problem) -> Response + Send + Sync + 'static,
    ) -> Self {
        self.rules.error_shapes.push((prefix, Arc::new(shape)));
        self
    }

    /// Answers `/health` with this instead of the daemon's own parts.
    #[must_use]
    pub fn health<F, R>(mut self, source: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Report> + Send + 'static,
    {
        self.health = Some(Arc::new(move || Box::pin(source())));
        self
    }

    /// Runs when the daemon is told to end, before connections are waited for.
    #[must_use]
    pub fn on_drain(mut self, work: impl Future<Output = ()> + Send + 'static) -> Self {
        self.on_drain = Some(Box::pin(work));
        self
    }

    /// Its routes with everything that a daemon puts around them, and no socket: for tests of who may ask what.
    /// Keys are those of the auth database below `paths`.
    #[doc(hidden)]
    pub fn assembled(self, paths: &Paths) -> axum::Router {
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let auth = Authenticator::new(AuthReader::new(paths.auth_database())).expect("threads");
        assemble(self, auth, Health::default(), "", metrics, Limits::default())
    }
}

impl Rules {
    /// What holds for a request, of which nothing but its head is looked at.
    pub(crate) fn of(&self, request: &Request) -> RequestRules {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let rows = route.and_then(|route| self.rows.get(route));
        rows.map_or_else(|| self.by_path(request.uri().path()), |rows| self.by_row(rows, request.method()))
    }

    /// Bytes of the largest body that is accepted and kept in memory.
    pub(crate) fn largest_body(&self) -> usize {
        let kept = self.rows.values().flatten().filter(|row| !row.streams_body);
        kept.filter_map(|row| row.body_limit).fold(self.body_limit, usize::max)
    }

    /// The route that was meant by a path that has none.
    pub(crate) fn suggestion(&self, path: &str) -> Option<String> {
        suggestion(path, &self.rows.keys().copied().collect::<Vec<_>>())
    }

    fn by_row(&self, rows: &[Row], method: &Method) -> RequestRules {
        // A route for GET answers HEAD too.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let fitting: Vec<&Row> = rows.iter().filter(|row| row.method == *method).collect();
        let rows = if fitting.is_empty() { rows.iter().collect() } else { fitting };
        RequestRules {
            accesses: rows.iter().map(|row| row.access).collect(),
            body_limit: rows.iter().find_map(|row| row.body_limit).unwrap_or(self.body_limit),
            streams_body: rows.iter().all(|row| row.streams_body),
            error_shape: rows.iter().find_map(|row| row.error_shape.clone()),
        }
    }

    fn by_path(&self, path: &str) -> RequestRules {
        let access = if path == "/health" {
            Access::Public
        } else if self.local.contains(&path) {
            Access::Local
        } else {
            self.needed(path).into()
        };
        let shape = self.error_shapes.iter().find(|(prefix, _)| path.starts_with(prefix));
        RequestRules {
            accesses: vec![access],
            body_limit: self.body_limit,
            streams_body: false,
            error_shape: shape.map(|(_, shape)| Arc::clone(shape)),
        }
    }

    /// The scope a path needs: the longest rule that covers it; `Read` when none does.
    fn needed(&self, path: &str) -> Scope {
        let covers = |rule: &str| path == rule || (rule.ends_with('/') && path.starts_with(rule));
        self.scopes
            .iter()
            .filter(|(_, rule)| covers(rule))
            .max_by_key(|(_, rule)| rule.len())
            .map_or(Scope::Read, |(scope, _)| *scope)
    }
}

impl RequestRules {
    /// Whether nobody need be known.
    pub(crate) fn is_public(&self) -> bool {
        self.accesses.contains(&Access::Public)
    }

    /// Whether programs on this box need no key.
    pub(crate) fn is_local(&self) -> bool {
        self.accesses.contains(&Access::Local)
    }

    /// Whether `caller`, who is not on this box, may ask.
    pub(crate) fn permit(&self, caller: Option<&Caller>) -> Result<(), Problem> {
        let mut refused = Ok(());
        for access in &self.accesses {
            match access.permit(caller) {
                Ok(()) => return Ok(()),
                Err(problem) => refused = refused.and(Err(problem)),
            }
        }
        refused
    }
}

/// Replaces problems by the shape that belongs to the request.
pub(crate) async fn reshape(rules: Arc<Rules>, request: Request, next: Next) -> Response {
    let shape = rules.of(&request).error_shape;
    let response = next.run(request).await;
    let (Some(shape), Some(problem)) = (shape, response.extensions().get::<Problem>()) else {
        return response;
    };
    let mut replaced = shape(problem);
    if let Some(seconds) = problem.retry_after_seconds() {
        replaced.headers_mut().insert(axum::http::header::RETRY_AFTER, seconds.into());
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_rule_decides_and_everything_else_needs_read() {
        let service = Service::new(axum::Router::new())
            .local(&["/usage"])
            .scope(Scope::Infer, &["/v1/", "/query"])
            .scope(Scope::Admin, &["/v1/admin/"]);
        let cases = [
            ("/v1/models", Scope::Infer),
            ("/query", Scope::Infer),
            ("/query/more", Scope::Read),
            ("/v1/admin/x", Scope::Admin),
            ("/other", Scope::Read),
        ];
        for (path, scope) in cases {
            assert_eq!(service.rules.by_path(path).accesses, [scope.into()], "{path}");
        }
        assert!(service.rules.by_path("/health").is_public());
        assert!(service.rules.by_path("/usage").is_local());
        assert!(!service.rules.by_path("/usage/more").is_local());
    }
}
