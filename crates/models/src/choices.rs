//! What the owner chose for a model. Kept apart from the manifest, which says what the model is.

use std::path::PathBuf;

use actionbooster_storage::atomic;
use serde::{Deserialize, Serialize};

use crate::manifest::{Sampling, is_id};
use crate::store::{Store, StoreError};

/// Folder of the owner's store with a file per model, built-in ones included.
const FOLDER: &str = ".choices";
/// Longest system text in bytes.
const MOST_SYSTEM: usize = 64 * 1024;
/// Most tokens of context that can be wished.
const MOST_CONTEXT: u32 = 1 << 22;

/// The owner's choices for one model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Choices {
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

impl Store {
    /// The owner's choices for a model; none are the default.
    pub fn choices(&self, id: &str) -> Result<Choices, StoreError> {
        let Some(path) = self.choices_file(id) else { return Err(StoreError::Missing(id.to_owned())) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Choices::default()),
            Err(source) => return Err(StoreError::Read { path, source }),
        };
        toml::from_str(&text).map_err(|error| StoreError::Choices { path, reason: error.to_string() })
    }

    /// Keeps the owner's choices for a model, whole or not at all.
    pub fn set_choices(&self, id: &str, choices: &Choices) -> Result<(), StoreError> {
        let Some(path) = self.choices_file(id) else { return Err(StoreError::Missing(id.to_owned())) };
        let wrong = |reason| StoreError::Choices { path: path.clone(), reason };
        choices.options.check().map_err(wrong)?;
        let text = toml::to_string(choices).map_err(|error| wrong(error.to_string()))?;
        let written = std::fs::create_dir_all(self.own().join(FOLDER))
            .and_then(|()| atomic::write(&path, text.as_bytes()));
        written.map_err(|source| StoreError::Write { path: path.clone(), source })
    }

    fn choices_file(&self, id: &str) -> Option<PathBuf> {
        is_id(id).then(|| self.own().join(FOLDER).join(format!("{id}.toml")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_kept_and_damaged_ones_are_told() {
        let root = tempfile::tempdir().expect("folder");
        let store = Store::new("/nowhere".into(), root.path().into());
        assert_eq!(store.choices("m").expect("none"), Choices::default());
        let options = ModelOptions {
            keep_alive_s: Some(0),
            system: Some("Be brief.".into()),
            ..ModelOptions::default()
        };
        let choices = Choices { pinned: true, options };
        store.set_choices("m", &choices).expect("kept");
        assert_eq!(store.choices("m").expect("read"), choices);
        assert!(store.choices("../m").is_err());
        std::fs::write(root.path().join(".choices/m.toml"), "pinned = 3").expect("write");
        assert!(store.choices("m").expect_err("damaged").to_string().contains("pinned"));
    }

    #[test]
    fn wishes_no_model_can_fulfil_are_refused() {
        let store = Store::new("/nowhere".into(), "/nowhere".into());
        for (options, part) in [
            (ModelOptions { temperature: Some(3.0), ..ModelOptions::default() }, "temperature"),
            (ModelOptions { context_tokens: Some(1), ..ModelOptions::default() }, "context_tokens"),
            (ModelOptions { system: Some("x".repeat(MOST_SYSTEM + 1)), ..ModelOptions::default() }, "system"),
        ] {
            let choices = Choices { options, ..Choices::default() };
            let error = store.set_choices("m", &choices).expect_err("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
