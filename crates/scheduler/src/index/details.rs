//! What a model's file says about itself.

use std::collections::BTreeMap;

use actionbooster_models::{Model, gguf};
use serde_json::Value;

use crate::causes::with_causes;

/// What a model's file says about itself.
#[derive(Debug, Clone, Default)]
pub struct ModelDetails {
    /// Family of the network, such as `qwen3`.
    pub architecture: String,
    /// Numbers that were learnt.
    pub parameters: u64,
    /// How they are packed, such as `Q4_K_M`.
    pub quantisation: &'static str,
    /// Tokens that it is used with at once.
    pub context_tokens: u32,
    /// Its chat template; empty when it has none.
    pub template: String,
    /// Tokens that it knows.
    pub vocabulary: Option<u64>,
    /// Tensors in the file.
    pub tensors: u64,
    /// Everything short that it says; long lists are left out.
    pub metadata: BTreeMap<String, Value>,
}

impl ModelDetails {
    /// Reads the head of the model's file, or says why it cannot be used. Blocks.
    pub(super) fn of(model: &Model) -> Result<Self, String> {
        let header = model.header().map_err(|error| with_causes(&error))?;
        let metadata = header.metadata.iter().filter(|(key, _)| *key != "tokenizer.chat_template");
        Ok(Self {
            architecture: header.architecture().to_owned(),
            parameters: header.parameters,
            quantisation: header.quantisation(),
            context_tokens: model.context_tokens(&header),
            template: header.chat_template().unwrap_or_default().to_owned(),
            vocabulary: header.vocabulary(),
            tensors: header.tensors,
            metadata: metadata.map(|(key, value)| (key.clone(), plain(value))).collect(),
        })
    }
}

fn plain(value: &gguf::Value) -> Value {
    match value {
        gguf::Value::Integer(number) => i64::try_from(*number).map_or(Value::Null, Value::from),
        gguf::Value::Float(number) => Value::from(*number),
        gguf::Value::Boolean(flag) => Value::from(*flag),
        gguf::Value::Text(text) => Value::from(text.as_str()),
        gguf::Value::Integers(_) | gguf::Value::Array(_) => Value::Null,
    }
}
