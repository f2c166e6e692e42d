//! Entry points for the fuzz targets in `tests/fuzz`.

use crate::api::{anthropic, ollama, openai};

/// Reads bytes as a request of every API. Returns how many of them would have been asked.
pub fn requests(bytes: &[u8]) -> usize {
    let accepted = [openai::accepts(bytes), ollama::accepts(bytes), anthropic::accepts(bytes)];
    accepted.into_iter().sum()
}
