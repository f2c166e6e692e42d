//! The APIs that clients of language models know, and what all of them share.

pub(crate) mod anthropic;
pub(crate) mod backpressure;
mod choices;
mod embeddings;
pub(crate) mod generation;
mod lenient;
pub(crate) mod ollama;
pub(crate) mod openai;
mod reasoning;
pub(crate) mod stream;
pub(crate) mod validation;
