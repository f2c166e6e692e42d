//! Why the database refuses, and what its callers are told.

use actionbooster_chassis::Problem;
use axum::http::StatusCode;
use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, DiskFull, ReadOnly, SystemIoFailure};

/// Why the database refuses.
#[derive(Debug)]
pub enum AccountsError {
    /// Somebody owns the box already.
    Claimed,
    /// No such key.
    NoSuchKey,
    /// The disk is full, read-only or failing; what was there can still be read.
    Unwritable(String),
    /// A later version of the product has written it.
    FromTheFuture {
        /// Its version.
        found: usize,
        /// The highest that this program knows.
        known: usize,
    },
    /// SQLite failed.
    Broken(String),
}

impl From<rusqlite::Error> for AccountsError {
    fn from(error: rusqlite::Error) -> Self {
        if is_unwritable(&error) {
            Self::Unwritable(error.to_string())
        } else {
            Self::Broken(error.to_string())
        }
    }
}

impl From<AccountsError> for Problem {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::Unwritable(cause) => {
                tracing::error!(cause, "the auth database cannot be written");
                cannot_write()
            }
            other => Self::internal(other),
        }
    }
}

/// 507: what was asked for needs the disk.
pub fn cannot_write() -> Problem {
    Problem::new(
        StatusCode::INSUFFICIENT_STORAGE,
        "cannot-write",
        "The box cannot write to its disk",
        "Nothing was changed. The disk is full, or has failed and can only be read: make room by removing \
         models or recordings, restart the box, then try again.",
    )
}

/// Whether the disk is the reason. A file that can no longer be read is corrupt to SQLite.
pub fn is_unwritable(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    code.is_some_and(|code| {
        matches!(code, CannotOpen | DatabaseCorrupt | DiskFull | ReadOnly | SystemIoFailure)
    })
}

impl std::fmt::Display for AccountsError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Claimed => formatter.write_str("the box has an owner already"),
            Self::NoSuchKey => formatter.write_str("there is no such key"),
            Self::Unwritable(cause) => write!(formatter, "the auth database cannot be written: {cause}"),
            Self::FromTheFuture { found, known } => write!(
                formatter,
                "the auth database has version {found}, and this program knows up to {known}: a newer version of \
                 the product wrote it. Start that version again; this one will not touch it"
            ),
            Self::Broken(cause) => write!(formatter, "the auth database failed: {cause}"),
        }
    }
}

impl std::error::Error for AccountsError {}
