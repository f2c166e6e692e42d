//! What a daemon hands to the chassis: its routes, and who may use which.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use crate::auth::{Caller, Scope, forbidden, unauthenticated};
use crate::health::Report;
use crate::problem::Problem;

/// Bytes of a request body when nothing else is said.
pub const DEFAULT_BODY_LIMIT: usize = 1024 * 1024;

pub(crate) type ErrorShape = Arc<dyn Fn(&Problem) -> Response + Send + Sync>;
pub(crate) type HealthSource = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Report> + Send>> + Send + Sync>;
pub(crate) type Drain = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A daemon's routes and their rules. Every path needs a caller we know unless it is made public.
pub struct Service {
    pub(crate) router: axum::Router,
    pub(crate) rules: Rules,
    pub(crate) body_limit: usize,
    pub(crate) larger_bodies: Vec<(&'static str, usize)>,
    pub(crate) error_shapes: Vec<(&'static str, ErrorShape)>,
    pub(crate) health: Option<HealthSource>,
    pub(crate) on_drain: Option<Drain>,
}

/// Who may use which path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    public: Vec<&'static str>,
    local: Vec<&'static str>,
    scopes: Vec<(Scope, &'static str)>,
}

impl Service {
    /// A service of these routes, none of them public.
    pub fn new(router: axum::Router) -> Self {
        Self {
            router,
            rules: Rules::default(),
            body_limit: DEFAULT_BODY_LIMIT,
            larger_bodies: Vec::new(),
            error_shapes: Vec::new(),
            health: None,
            on_drain: None,
        }
    }

    /// Lets everybody use exactly these paths.
    #[must_use]
    pub fn public(mut self, paths: &[&'static str]) -> Self {
        self.rules.public.extend(paths);
        self
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
        self.body_limit = bytes;
        self
    }

    /// Accepts larger bodies below a path prefix, for handlers that read them piece by piece.
    #[must_use]
    pub fn body_limit_below(mut self, prefix: &'static str, bytes: usize) -> Self {
        self.larger_bodies.push((prefix, bytes));
        self
    }

    /// Gives errors below a path prefix the shape that clients of that surface expect.
    #[must_use]
    pub fn error_shape(
        mut self,
        prefix: &'static str,
        shape: impl Fn(&Problem) -> Response + Send + Sync + 'static,
    ) -> Self {
        self.error_shapes.push((prefix, Arc::new(shape)));
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
}

impl Rules {
    /// The scope a path needs: the longest rule that covers it; `Read` when none does.
    fn needed(&self, path: &str) -> Scope {
        let covers = |rule: &str| path == rule || (rule.ends_with('/') && path.starts_with(rule));
        self.scopes
            .iter()
            .filter(|(_, rule)| covers(rule))
            .max_by_key(|(_, rule)| rule.len())
            .map_or(Scope::Read, |(scope, _)| *scope)
    }

    /// Whether everybody may use `path`.
    pub(crate) fn is_public(&self, path: &str) -> bool {
        path == "/health" || self.public.contains(&path)
    }

    pub(crate) fn is_local(&self, path: &str) -> bool {
        self.local.contains(&path)
    }

    /// Whether `caller` may use `path`.
    pub(crate) fn permit(&self, path: &str, caller: Option<&Caller>) -> Result<(), Problem> {
        if self.is_public(path) {
            return Ok(());
        }
        let caller = caller.ok_or_else(unauthenticated)?;
        let needed = self.needed(path);
        if caller.may(needed) { Ok(()) } else { Err(forbidden(needed)) }
    }
}

/// Replaces problems by the shape that belongs to the path.
pub(crate) async fn reshape(
    shapes: Arc<[(&'static str, ErrorShape)]>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Problem>() else { return response };
    let Some((_, shape)) = shapes.iter().find(|(prefix, _)| path.starts_with(prefix)) else {
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
            .public(&["/open"])
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
            assert_eq!(service.rules.needed(path), scope, "{path}");
        }
        assert!(service.rules.permit("/open", None).is_ok());
        assert!(service.rules.permit("/health", None).is_ok());
        assert!(service.rules.permit("/openx", None).is_err());
        assert!(service.rules.permit("/query", Some(&Caller::Console)).is_ok());
    }
}
