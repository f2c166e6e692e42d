//! The auth database, from its readers' side.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{Caller, Scope, api_key, same_origin, session_token, token_hash};
use crate::paths::Paths;
use crate::problem::Problem;

/// How long a question waits while the monitor commits.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads the auth database. Cheap to clone; opens the file for each question, so that a database
/// that appears later or is replaced by a restore is seen at once.
#[derive(Debug, Clone)]
pub struct AuthReader {
    database: PathBuf,
    /// Sessions that were opened while the database could not be written.
    temporary: Option<PathBuf>,
    /// What the database holds, in memory: a failing disk may refuse even to be read.
    copy: Option<PathBuf>,
}

impl AuthReader {
    /// A reader of this file, which need not exist yet: then nobody is known.
    pub fn new(database: PathBuf) -> Self {
        Self { database, temporary: None, copy: None }
    }

    /// A reader of a box's files.
    pub fn of(paths: &Paths) -> Self {
        Self {
            database: paths.auth_database(),
            temporary: Some(paths.temporary_sessions()),
            copy: Some(paths.auth_copy()),
        }
    }

    /// Who sent a request with these headers, at the Unix time `now`.
    pub fn identify(
        &self,
        method: &Method,
        headers: &HeaderMap,
        now: i64,
    ) -> Result<Option<Caller>, Problem> {
        if let Some(key) = api_key(headers) {
            return self.of_key(key);
        }
        let Some(token) = session_token(headers) else { return Ok(None) };
        let caller = self.session(token, now)?;
        if caller.is_some() && !method.is_safe() && !same_origin(headers) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "foreign-origin",
                "The request comes from another site",
                "A portal session only accepts changes from the portal itself. Programs use an API key.",
            ));
        }
        Ok(caller)
    }

    /// Whose key this is, for connections that are not HTTP.
    pub fn of_key(&self, key: &str) -> Result<Option<Caller>, Problem> {
        self.ask(|database| {
            database
                .query_row(
                    "SELECT id, name, scopes FROM api_key WHERE hash = ?1",
                    params![token_hash(key)],
                    |row| {
                        let scopes: String = row.get(2)?;
                        let scopes = scopes.split(' ').filter_map(Scope::parse).collect();
                        Ok(Caller::Key { id: row.get(0)?, name: row.get(1)?, scopes })
                    },
                )
                .optional()
        })
    }

    fn session(&self, token: &str, now: i64) -> Result<Option<Caller>, Problem> {
        let hash = token_hash(token);
        let query = match self.temporary_end(&hash)? {
            Some(end) if end <= now => return Ok(None),
            Some(_) => "SELECT owner.name FROM owner WHERE ?1 IS NOT NULL AND ?2 IS NOT NULL",
            None => {
                "SELECT owner.name FROM session, owner WHERE session.hash = ?1 AND session.expires_at > ?2"
            }
        };
        self.ask(|database| {
            database
                .query_row(query, params![hash, now], |row| {
                    Ok(Caller::Session { owner: row.get(0)?, hash: hash.clone() })
                })
                .optional()
        })
    }

    /// When a session ends that was opened while the database could not be written; 0 for one that was
    /// ended then.
    fn temporary_end(&self, hash: &[u8]) -> Result<Option<i64>, Problem> {
        let Some(path) = &self.temporary else { return Ok(None) };
        told(look(path, |database| {
            database
                .query_row("SELECT expires_at FROM session WHERE hash = ?1", [hash], |row| row.get(0))
                .optional()
        }))
    }

    /// Asks the database, or its copy where the disk cannot be read.
    fn ask<T>(
        &self,
        question: impl Fn(&Connection) -> rusqlite::Result<Option<T>>,
    ) -> Result<Option<T>, Problem> {
        let outcome = match (look(&self.database, &question), &self.copy) {
            (Err(error), Some(copy)) if is_unreadable(&error) && copy.exists() => look(copy, &question),
            (outcome, _) => outcome,
        };
        told(outcome)
    }
}

/// Asks a file that the monitor writes; one that is not there yet knows nothing.
fn look<T>(
    file: &Path,
    question: impl Fn(&Connection) -> rusqlite::Result<Option<T>>,
) -> rusqlite::Result<Option<T>> {
    if matches!(file.try_exists(), Ok(false)) {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(file, flags)?;
    database.busy_timeout(PATIENCE)?;
    question(&database)
}

fn told<T>(outcome: rusqlite::Result<Option<T>>) -> Result<Option<T>, Problem> {
    match outcome {
        Ok(answer) => Ok(answer),
        // A database in the instant of its creation has no tables yet.
        Err(error) if error.to_string().contains("no such table") => Ok(None),
        Err(error) if may_pass(&error) => {
            tracing::warn!(%error, "the auth database cannot be read now");
            Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "auth-unavailable",
                "Keys and sessions cannot be checked now",
                "The box is busy with its list of keys and sessions. Try again in a moment.",
            )
            .retry_after(2))
        }
        Err(error) => Err(Problem::internal(format!("the auth database cannot be read: {error}"))),
    }
}

/// Whether the disk, or what a death while writing left on a disk that is read-only now, is the reason.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, ReadOnly, SystemIoFailure};
    let code = error.sqlite_error_code();
    code.is_some_and(|code| matches!(code, CannotOpen | DatabaseCorrupt | ReadOnly | SystemIoFailure))
}

/// Whether waiting may help: the monitor writes, or died writing and rolls back when it starts again.
fn may_pass(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, DatabaseLocked, ReadOnly};
    let code = error.sqlite_error_code();
    code.is_some_and(|code| matches!(code, CannotOpen | DatabaseBusy | DatabaseLocked | ReadOnly))
}
