//! The model store: manifests, GGUF headers checked before anything loads, memory estimates.

mod catalog;
mod choices;
pub mod gguf;
mod incoming;
mod manifest;
mod memory;
pub mod onnx;
mod store;

pub use catalog::{Advice, Catalog, Entry, Reason};
pub use choices::{Choices, ModelOptions};
pub use incoming::{Incoming, IncomingError, Upload, Wanted, Writer};
pub use manifest::{Description, Kind, Manifest, ManifestError, Role, Sampling};
pub use memory::{Estimate, estimate};
pub use store::{Model, Store, StoreError};
