//! The model store: manifests, GGUF headers checked before anything loads, memory estimates.

pub mod gguf;
mod manifest;
mod memory;
mod store;

pub use manifest::{Description, Manifest, ManifestError, Role, Sampling};
pub use memory::estimate_bytes;
pub use store::{Model, Store, StoreError};
