//! What the owner set for a model. Kept apart from the manifest, which says what the model is.

use serde::{Deserialize, Serialize};

use crate::manifest::Sampling;

/// Longest system text in bytes.
const MOST_SYSTEM: usize = 64 * 1024;
/// Most tokens of context that can be wished.
const MOST_CONTEXT: u32 = 1 << 22;

/// The owner's settings for one model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Stays loaded: never evicted for another model, nor unloaded when idle.
    pub pinned: bool,
    /// How it is used when a request does not say.
    pub options: ModelOptions,
}

/// How a model is used when a request does not say. What is absent is as the manifest or the file says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelOptions {
    /// Tokens of context per request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u32>,
    /// Seconds it stays loaded when idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive_s: Option<u64>,
    /// 0 is greedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Share of the best token's probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Penalty for repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_penalty: Option<f32>,
    /// System text for conversations that have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

impl ModelOptions {
    /// Refuses what no model can do, naming the field.
    pub fn check(&self) -> Result<(), String> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
        };
        sampling.check().map_err(|error| error.to_string())?;
        if let Some(tokens) = self.context_tokens.filter(|tokens| !(64..=MOST_CONTEXT).contains(tokens)) {
            return Err(format!("context_tokens is {tokens}, which is not within 64 to {MOST_CONTEXT}"));
        }
        if let Some(system) = self.system.as_ref().filter(|system| system.len() > MOST_SYSTEM) {
            return Err(format!("system has {} bytes; at most {MOST_SYSTEM} are kept", system.len()));
        }
        Ok(())
    }

    /// The manifest's sampling with the owner's wishes over it.
    pub fn sampling(&self, own: Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.or(own.temperature),
            top_p: self.top_p.or(own.top_p),
            top_k: self.top_k.or(own.top_k),
            min_p: self.min_p.or(own.min_p),
            repeat_penalty: self.repeat_penalty.or(own.repeat_penalty),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_no_model_can_fulfil_are_refused() {
        for (options, part) in [
            (ModelOptions { temperature: Some(3.0), ..ModelOptions::default() }, "temperature"),
            (ModelOptions { context_tokens: Some(1), ..ModelOptions::default() }, "context_tokens"),
            (ModelOptions { system: Some("x".repeat(MOST_SYSTEM + 1)), ..ModelOptions::default() }, "system"),
        ] {
            let error = options.check().expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
    }
}
