//! Why conversations cannot be read or kept.

use rusqlite::ErrorCode as Code;

/// Why conversations cannot be read or kept, in words for people.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// This account has no such conversation.
    #[error("There is no such conversation; it may have been deleted.")]
    Missing,
    /// The conversation has no such turn.
    #[error("The conversation has no such turn; it may have been deleted.")]
    MissingTurn,
    /// A field is wrong.
    #[error("{detail}")]
    Invalid {
        /// The field.
        param: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A turn is too large.
    #[error("The turn has {bytes} bytes; {most} are kept at most. Shorten it.")]
    TurnTooLarge {
        /// Bytes that it has.
        bytes: u64,
        /// Bytes that it may have.
        most: u64,
    },
    /// A conversation has as much as it may have.
    #[error("The conversation is full: it may have {turns} turns and {bytes} bytes. Begin a new one.")]
    ConversationFull {
        /// Turns at most.
        turns: u64,
        /// Bytes at most.
        bytes: u64,
    },
    /// An account has as many conversations as it may have.
    #[error("There are {most} conversations, which is as many as one account may have. Delete some.")]
    TooMany {
        /// Conversations at most.
        most: u64,
    },
    /// The disk, or the part of it that conversations may take, is full. What was kept before stays.
    #[error("{0}")]
    Full(String),
    /// Too much is being asked at once.
    #[error("Too many requests for conversations wait. Try again in a moment.")]
    Busy,
    /// A search took too long.
    #[error("The search takes too long. Use more, longer or rarer words.")]
    Slow,
    /// The file was damaged, and has been put aside.
    #[error(
        "The file of conversations was damaged. It was put aside, and a new one begun; /health says where it is. \
         Try again."
    )]
    Damaged,
    /// The index of words was damaged; it is made anew.
    #[error("The index by which conversations are searched was damaged, and is made anew. Try again.")]
    IndexDamaged,
    /// The file cannot be opened, read or written.
    #[error("The conversations cannot be reached now: {0}. See /health for the state of the disk.")]
    Unavailable(String),
    /// Something else that SQLite says.
    #[error("the file of conversations: {0}")]
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for ConversationError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        // The tables hold nothing but what was written by their types.
        let unreadable = matches!(
            error,
            E::Utf8Error(..)
                | E::InvalidColumnType(..)
                | E::FromSqlConversionFailure(..)
                | E::IntegralValueOutOfRange(..)
        );
        let extended = error.sqlite_error().map(|error| error.extended_code);
        match error.sqlite_error_code() {
            _ if unreadable => Self::Damaged,
            _ if extended == Some(rusqlite::ffi::SQLITE_CORRUPT_VTAB) => Self::IndexDamaged,
            Some(Code::DiskFull) => Self::Full(
                "The disk is full; what was kept stays as it was. Free some space in the portal under The box, \
                 Space, or see `boosterctl storage`."
                    .into(),
            ),
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => Self::Damaged,
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Busy,
            Some(Code::OperationInterrupted) => Self::Slow,
            Some(Code::CannotOpen | Code::SystemIoFailure | Code::ReadOnly) => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Database(error),
        }
    }
}
