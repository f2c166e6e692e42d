//! How many bytes a loaded model takes.

use crate::gguf::Header;

/// Bytes of a key or value element (f16).
const ELEMENT_BYTES: u64 = 2;
/// The process itself: libraries, tokenizer, sockets.
const PROCESS_BYTES: u64 = 24 << 20;
/// Tokens that are computed together; decides the size of the compute buffers.
const BATCH_TOKENS: u64 = 512;

/// Bytes of a loaded model, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The numbers of the file.
    pub weights: u64,
    /// Keys and values of the context.
    pub cache: u64,
    /// Buffers for computing, and the process itself.
    pub compute: u64,
}

impl Estimate {
    /// Everything together.
    pub const fn total(self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.compute)
    }
}

/// Estimates weights + key/value cache + compute buffers, for `slots` requests of `context_tokens` each.
///
/// The cache holds, per token and layer, keys and values of `kv_heads × head_dim` elements. The
/// compute buffers hold the logits and a handful of activations of a batch. Missing metadata counts
/// as the usual value of the architecture, never as zero.
pub fn estimate(header: &Header, context_tokens: u32, slots: u32) -> Estimate {
    let layers = header.integer("block_count").unwrap_or(32);
    let embedding = header.integer("embedding_length").unwrap_or(4096);
    let heads = header.integer("attention.head_count").unwrap_or(32).max(1);
    let kv_heads = header.integer("attention.head_count_kv").unwrap_or(heads);
    let head_dim = header.integer("attention.key_length").unwrap_or(embedding / heads);
    let feed_forward = header.integer("feed_forward_length").unwrap_or(embedding.saturating_mul(4));
    let vocabulary = match header.metadata.get("tokenizer.ggml.tokens") {
        Some(crate::gguf::Value::Array(length)) => *length,
        _ => 32_000,
    };
    let tokens = u64::from(context_tokens).saturating_mul(slots.max(1).into());
    let cache =
        [layers, kv_heads, head_dim, 2, ELEMENT_BYTES].iter().fold(tokens, |sum, n| sum.saturating_mul(*n));
    let activations = embedding.saturating_mul(6).saturating_add(feed_forward.saturating_mul(2));
    let compute = BATCH_TOKENS.saturating_mul(4).saturating_mul(activations.saturating_add(vocabulary));
    Estimate { weights: header.tensor_bytes, cache, compute: compute.saturating_add(PROCESS_BYTES) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Value;

    fn header(pairs: &[(&str, i128)], tensor_bytes: u64) -> Header {
        let mut metadata: std::collections::BTreeMap<_, _> =
            pairs.iter().map(|(key, value)| (format!("qwen2.{key}"), Value::Integer(*value))).collect();
        metadata.insert("general.architecture".into(), Value::Text("qwen2".into()));
        metadata.insert("tokenizer.ggml.tokens".into(), Value::Array(151_936));
        Header { metadata, tensors: 1, tensor_bytes, parameters: 0, tensor_type: "" }
    }

    #[test]
    fn the_cache_of_a_known_model_is_what_llama_cpp_allocates() {
        let shape = [
            ("block_count", 24),
            ("embedding_length", 896),
            ("attention.head_count", 14),
            ("attention.head_count_kv", 2),
            ("feed_forward_length", 4864),
        ];
        let at = |context| estimate(&header(&shape, 0), context, 1).total();
        // Qwen2.5-0.5B: 24 layers × 2 heads × 64 × 2 × f16 = 12 KiB a token.
        assert_eq!(at(4096) - at(0), 48 << 20);
        assert_eq!(estimate(&header(&shape, 1000), 0, 1).total() - at(0), 1000);
    }

    #[test]
    fn absurd_metadata_saturates_instead_of_overflowing() {
        let shape = [("block_count", i128::from(u64::MAX)), ("embedding_length", i128::from(u64::MAX))];
        assert_eq!(estimate(&header(&shape, 1), u32::MAX, u32::MAX).total(), u64::MAX);
    }
}
