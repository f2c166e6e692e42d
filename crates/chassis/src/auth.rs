//! Who is asking: API keys, portal sessions, and root on the box.
//!
//! The database is written by the monitor only. Every daemon reads it by itself, so that no daemon
//! depends on another to refuse a stranger. Keys and session tokens are stored as SHA-256: they are
//! random and long, so a slow hash would cost time and buy nothing.

use std::collections::BTreeSet;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::problem::Problem;

mod authenticator;
mod reader;

pub(crate) use authenticator::Authenticator;
pub use reader::AuthReader;

/// Name of the session cookie.
pub const SESSION_COOKIE: &str = "booster_session";
/// What every API key begins with.
pub const KEY_PREFIX: &str = "ab_";

/// Tables of the auth database, as its first version has them. Times are Unix seconds. Later versions are
/// made of it by the monitor's migrations, which add and never rename: readers of another version, too,
/// must find what they know.
pub const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS owner (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS api_key (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS session (
    hash BLOB PRIMARY KEY,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
";

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Ask models.
    Infer,
    /// Have images, videos and characters made, follow these jobs, and have what they made.
    Jobs,
    /// Go before others who wait for a model.
    Interactive,
    /// Read reports and state.
    Read,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::Infer, Self::Jobs, Self::Interactive, Self::Read, Self::Admin];

    /// The word used in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Jobs => "jobs",
            Self::Interactive => "interactive",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// The scope of that name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A program with an API key.
    Key {
        /// Identifier of the key.
        id: String,
        /// Name the owner gave it.
        name: String,
        /// What it may be used for.
        scopes: BTreeSet<Scope>,
    },
    /// The owner in the portal.
    Session {
        /// The owner's name.
        owner: String,
        /// Hash of the session's token.
        hash: Vec<u8>,
    },
    /// Root on the box, over the Unix socket. Whoever is root there owns the box already.
    Console,
}

impl Caller {
    /// Whether this caller may do what needs `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Key { scopes, .. } => scopes.contains(&scope) || scopes.contains(&Scope::Admin),
            Self::Session { .. } | Self::Console => true,
        }
    }

    /// What tells callers apart in metrics and in turns: of a key its identifier, since the name that
    /// the owner gave it is nobody else's business.
    pub fn label(&self) -> &str {
        match self {
            Self::Key { id, .. } => id,
            Self::Session { .. } => "portal",
            Self::Console => "console",
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthenticated)
    }
}

/// The hash under which a key or a session token is stored.
pub fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Whether there is anything to ask the database about.
pub(crate) fn carries_credentials(headers: &HeaderMap) -> bool {
    api_key(headers).is_some() || session_token(headers).is_some()
}

/// 401: nobody we know.
pub fn unauthenticated() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "Not logged in",
        "Send an API key as `Authorization: Bearer ab_…` or `x-api-key`, or log in to the portal. \
         Keys are made in the portal under Settings.",
    )
}

/// 403: known, but not for this, for which one of these scopes would be enough.
pub fn forbidden(enough: &[Scope]) -> Problem {
    let enough: Vec<String> = enough.iter().map(|scope| format!("`{}`", scope.as_str())).collect();
    Problem::new(
        StatusCode::FORBIDDEN,
        "missing-scope",
        "This key may not do that",
        format!("The key lacks the scope {}. Make a key that has it, or `admin`.", enough.join(" or ")),
    )
}

fn api_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))
}

/// The value of the session cookie.
pub fn session_token(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, SESSION_COOKIE)
}

/// The value of the cookie called `wanted`.
pub fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value)
}

/// Whether `Origin` names the host that was asked. Browsers always send it with unsafe methods.
fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else { return false };
    origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, Method};
    use rusqlite::Connection;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).expect("header"));
        }
        map
    }

    fn database() -> (tempfile::TempDir, AuthReader) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("auth.db");
        let database = Connection::open(&path).expect("database");
        database.execute_batch(SCHEMA).expect("schema");
        database.execute("INSERT INTO owner VALUES (1, 'ana', 'x', 0)", []).expect("owner");
        database
            .execute(
                "INSERT INTO api_key VALUES ('k1', 'script', 'infer', ?1, 'ab_…', 0)",
                [token_hash("ab_good")],
            )
            .expect("key");
        database.execute("INSERT INTO session VALUES (?1, 0, 100)", [token_hash("token")]).expect("session");
        (folder, AuthReader::new(path))
    }

    type Case = (&'static [(&'static str, &'static str)], i64, Option<&'static str>);

    #[test]
    fn keys_and_sessions_are_recognised_and_others_are_not() {
        let (_folder, reader) = database();
        let cases: &[Case] = &[
            (&[("authorization", "Bearer ab_good")], 0, Some("k1")),
            (&[("authorization", "bearer ab_good")], 0, Some("k1")),
            (&[("x-api-key", "ab_good")], 0, Some("k1")),
            (&[("authorization", "Bearer ab_bad")], 0, None),
            (&[("authorization", "Basic ab_good")], 0, None),
            (&[("cookie", "a=b; booster_session=token")], 99, Some("portal")),
            (&[("cookie", "booster_session=token")], 100, None),
            (&[("cookie", "booster_session=other")], 0, None),
            (&[], 0, None),
        ];
        for (pairs, now, expected) in cases {
            let caller = reader.identify(&Method::GET, &headers(pairs), *now).expect("answer");
            assert_eq!(caller.as_ref().map(Caller::label), *expected, "{pairs:?} at {now}");
        }
    }

    #[test]
    fn a_session_accepts_changes_only_from_the_portal_itself() {
        let (_folder, reader) = database();
        let cases = [(Some("https://box:8443"), true), (Some("https://evil"), false), (None, false)];
        for (origin, accepted) in cases {
            let mut map = headers(&[("cookie", "booster_session=token"), ("host", "box:8443")]);
            if let Some(origin) = origin {
                map.insert("origin", HeaderValue::from_static(origin));
            }
            assert_eq!(reader.identify(&Method::POST, &map, 0).is_ok(), accepted, "{origin:?}");
        }
    }

    #[test]
    fn without_a_database_nobody_is_known() {
        let reader = AuthReader::new("/nowhere/auth.db".into());
        let map = headers(&[("x-api-key", "ab_good")]);
        assert_eq!(reader.identify(&Method::GET, &map, 0).expect("answer"), None);
    }

    #[test]
    fn admin_implies_every_scope_and_others_only_themselves() {
        let key = |scopes: &[Scope]| Caller::Key {
            id: String::new(),
            name: String::new(),
            scopes: scopes.iter().copied().collect(),
        };
        assert!(Scope::ALL.into_iter().all(|scope| key(&[Scope::Admin]).may(scope)));
        assert!(key(&[Scope::Infer]).may(Scope::Infer));
        assert!(!key(&[Scope::Infer]).may(Scope::Read));
        assert!(!key(&[]).may(Scope::Infer));
    }
}
