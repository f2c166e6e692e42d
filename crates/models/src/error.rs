//! What can be wrong with a model of the store.

use std::path::PathBuf;

use crate::gguf::GgufError;
use crate::manifest::ManifestError;

/// Why a model of the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The manifest is wrong.
    #[error("{path} is not a valid manifest: {source}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ManifestError,
    },
    /// A manifest that is no regular file, or far too large for one.
    #[error("{path} is not a manifest: it must be a file of at most 64 KiB")]
    NotManifest {
        /// The file.
        path: PathBuf,
    },
    /// The model is neither built in nor the owner's.
    #[error("there is no model {0} in the store")]
    Missing(String),
    /// The folder is named after another model.
    #[error("{path} says its id is {id}; the folder must have the same name")]
    Misplaced {
        /// The manifest.
        path: PathBuf,
        /// The id it gives.
        id: String,
    },
    /// A folder, a pipe or a device in the model file's place.
    #[error("{path} is not a regular file")]
    NotFile {
        /// The model file.
        path: PathBuf,
    },
    /// The file is not what the manifest says.
    #[error("{path} has {actual} bytes, its manifest says {expected}; copy it again")]
    Size {
        /// The model file.
        path: PathBuf,
        /// Bytes it has.
        actual: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// The file's content changed.
    #[error("{path} is damaged: its SHA-256 is not the one of its manifest; copy it again")]
    Digest {
        /// The model file.
        path: PathBuf,
    },
    /// The owner's settings are damaged, or make no sense.
    #[error("{path} cannot be used: {reason}")]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something of the store cannot be changed.
    #[error("cannot change {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Built-in models stay.
    #[error("the model {0} came with the system and cannot be removed; unload it instead")]
    BuiltIn(String),
    /// The detector's file is refused.
    #[error("{path} cannot be used: {reason}")]
    Detector {
        /// The model file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The GGUF head is refused.
    #[error("{path} cannot be used: {source}")]
    Gguf {
        /// The model file.
        path: PathBuf,
        /// Why.
        source: GgufError,
    },
}
