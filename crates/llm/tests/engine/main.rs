//! The engine with a real model: the guide that the project makes itself.

mod answers;
mod embeddings;
mod formats;
mod memory;
mod support;
