//! A daemon's table of routes: each row says what is answered, who may ask, and by which function.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::Method;
use axum::response::Response;
use axum::routing::{self, MethodRouter};

use crate::auth::{Caller, Scope, forbidden, unauthenticated};
use crate::problem::Problem;
use crate::service::ErrorShape;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Programs on this box, without a key: what daemons tell each other. Others need the scope `read`.
    Local,
    /// Who has this scope.
    Scope(Scope),
    /// Who has one of these scopes.
    Either(Scope, Scope),
}

impl From<Scope> for Access {
    fn from(scope: Scope) -> Self {
        Self::Scope(scope)
    }
}

impl Access {
    /// Whether `caller`, who is not on this box, may come in.
    pub(crate) fn permit(self, caller: Option<&Caller>) -> Result<(), Problem> {
        let enough: &[Scope] = match &self {
            Self::Public => return Ok(()),
            Self::Local => &[Scope::Read],
            Self::Scope(scope) => &[*scope],
            Self::Either(first, second) => &[*first, *second],
        };
        let caller = caller.ok_or_else(unauthenticated)?;
        if enough.iter().any(|scope| caller.may(*scope)) { Ok(()) } else { Err(forbidden(enough)) }
    }
}

/// One row of the table.
pub struct Route<S = ()> {
    path: &'static str,
    row: Row,
    handler: MethodRouter<S>,
}

/// What a row says besides its path and its handler.
pub(crate) struct Row {
    pub(crate) method: Method,
    pub(crate) access: Access,
    pub(crate) body_limit: Option<usize>,
    pub(crate) streams_body: bool,
    pub(crate) error_shape: Option<ErrorShape>,
}

macro_rules! rows {
    ($($name:ident $method:ident,)*) => {$(
        #[doc = concat!("A row for `", stringify!($method), "`.")]
        pub fn $name<H, T, S>(path: &'static str, access: impl Into<Access>, handler: H) -> Route<S>
        where
            H: Handler<T, S>,
            T: 'static,
            S: Clone + Send + Sync + 'static,
        {
            Route::new(Method::$method, path, access.into(), routing::$name(handler))
        }
    )*};
}

rows! {
    get GET,
    post POST,
    put PUT,
    patch PATCH,
    delete DELETE,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    fn new(method: Method, path: &'static str, access: Access, handler: MethodRouter<S>) -> Self {
        Self {
            path,
            row: Row { method, access, body_limit: None, streams_body: false, error_shape: None },
            handler,
        }
    }

    /// Accepts bodies of so many bytes where the service accepts fewer or more.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.row.body_limit = Some(bytes);
        self
    }

    /// Its handler keeps nothing of a body in memory, so that it counts nothing there.
    #[must_use]
    pub fn streams_body(mut self) -> Self {
        self.row.streams_body = true;
        self
    }

    /// Gives errors the shape that clients of this route expect.
    #[must_use]
    pub fn errors(mut self, shape: impl Fn(&Problem) -> Response + Send + Sync + 'static) -> Self {
        self.row.error_shape = Some(Arc::new(shape));
        self
    }

    /// Its method.
    pub const fn method(&self) -> &Method {
        &self.row.method
    }

    /// Its path, with `{name}` where it varies.
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Who may use it.
    pub const fn access(&self) -> Access {
        self.row.access
    }
}

/// The rows of each path.
pub(crate) type Rows = BTreeMap<&'static str, Vec<Row>>;

/// The router of a table, and what else its rows say.
pub(crate) fn split<S: Clone + Send + Sync + 'static>(table: Vec<Route<S>>, state: S) -> (Router, Rows) {
    let mut router = Router::new();
    let mut rows = Rows::new();
    for Route { path, row, handler } in table {
        let handler = match row.body_limit {
            Some(bytes) => handler.layer(DefaultBodyLimit::max(bytes)),
            None => handler,
        };
        router = router.route(path, handler);
        rows.entry(path).or_default().push(row);
    }
    (router.with_state(state), rows)
}
