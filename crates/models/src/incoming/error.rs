//! Why a model does not come in.

use std::io;

use actionbooster_storage::Shortage;

use crate::error::StoreError;
use crate::gguf;

/// Why a model does not come in.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// Something of what was announced makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store has a model of this id.
    #[error("there is a model {0} already; choose another id, or remove that one first")]
    Taken(String),
    /// The same model is coming in already.
    #[error("the model {id} is being added already by {upload}; go on with that one, or delete it first")]
    Coming {
        /// The model.
        id: String,
        /// The upload to go on with.
        upload: String,
    },
    /// There is no such upload.
    #[error("there is no upload {0}; it may have been finished, deleted, or left alone for a week")]
    Missing(String),
    /// Somebody else is writing to it.
    #[error("another request is writing to {0} right now; wait until it has ended")]
    Busy(String),
    /// The next byte is another one.
    #[error("{received} bytes are there; go on from that offset")]
    Offset {
        /// Bytes that are there.
        received: u64,
    },
    /// More than was announced.
    #[error("{size} bytes were announced and more came; announce the true size")]
    TooMuch {
        /// Bytes announced.
        size: u64,
    },
    /// Not all of it came.
    #[error("{received} of {size} bytes are there; send the rest first")]
    Unfinished {
        /// Bytes that are there.
        received: u64,
        /// Bytes announced.
        size: u64,
    },
    /// The disk has no room.
    #[error(transparent)]
    Full(#[from] Shortage),
    /// The content is not what was promised.
    #[error(
        "the file's SHA-256 is {actual} and {expected} was promised; it was changed on its way, send it again"
    )]
    Digest {
        /// Of the bytes that came.
        actual: String,
        /// As announced.
        expected: String,
    },
    /// The file is no model that can be used.
    #[error("this file cannot be used: {0}")]
    Refused(#[from] gguf::GgufError),
    /// It is no detector that can be used.
    #[error("this is no detector that can be used: {0}")]
    Detector(String),
    /// The store itself has a problem.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

pub fn io_error(what: &str) -> impl FnOnce(io::Error) -> IncomingError + '_ {
    move |source| IncomingError::Io { what: what.to_owned(), source }
}
