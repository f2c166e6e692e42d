//! The model store: manifests, GGUF headers checked before anything loads, memory estimates.

mod catalog;
mod error;
#[cfg(test)]
mod fixture;
pub mod gguf;
mod incoming;
mod manifest;
mod memory;
mod model;
pub mod onnx;
mod settings;
mod store;

pub use catalog::{Advice, Catalog, Entry, Reason};
pub use error::StoreError;
pub use incoming::{Incoming, IncomingError, Origin, Upload, Wanted, Writer};
pub use manifest::{Description, Kind, Manifest, ManifestError, Role, Sampling, is_id, shown_id};
pub use memory::{Estimate, estimate};
pub use model::Model;
pub use settings::{ModelOptions, ModelSettings};
pub use store::Store;
