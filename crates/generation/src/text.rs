//! Text from one model, kept with everything that made it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::assets::{Asset, Content, Kind};
use super::error::GenerationError;
use super::models::{Answer, LocalModels, Question};
use super::principal::Principal;
use super::{Gateway, off_thread};

const DEFAULT_TOKENS: u32 = 512;
const MOST_TOKENS: u32 = 32_768;
const DEFAULT_TEMPERATURE: f32 = 0.8;

/// Body of `POST /text/gen`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextRequest {
    prompt: String,
    /// A model of this box, or `<server>/<model>` of a server in the settings.
    model: Option<String>,
    system: Option<String>,
    temperature: Option<f32>,
    max_tokens: Option<u32>,
    seed: Option<u32>,
}

/// A text that was written and kept.
#[derive(Debug)]
pub struct Text {
    /// Where it is kept.
    pub asset: Asset,
    /// What was written.
    pub answer: Answer,
    /// Who wrote it.
    pub model: String,
    /// The seed that gives it again.
    pub seed: u32,
}

impl Gateway {
    /// Generates and keeps a text, asking models of this box through `models`.
    pub async fn text(
        &self,
        models: &dyn LocalModels,
        principal: &Principal,
        request: &TextRequest,
    ) -> Result<Text, GenerationError> {
        self.assets.check_room()?;
        self.write_and_keep(models, principal, request).await
    }

    /// The same for others that build on texts.
    pub(super) async fn write_and_keep(
        &self,
        models: &dyn LocalModels,
        principal: &Principal,
        request: &TextRequest,
    ) -> Result<Text, GenerationError> {
        let seed = request.seed.unwrap_or_else(rand::random);
        let (answer, model) = self.write(models, request, seed).await?;
        let asset = keep(self, principal, request, &answer, &model, seed).await?;
        Ok(Text { asset, answer, model, seed })
    }

    /// Whether there is a model to write with: the named one, or any.
    pub(super) async fn check_model(&self, named: Option<&str>) -> Result<(), GenerationError> {
        if let Some(model) = named
            && self.remotes.find(model)?.is_some()
        {
            return Ok(());
        }
        self.models.choose(named).await.map(drop).map_err(GenerationError::Model)
    }

    async fn write(
        &self,
        models: &dyn LocalModels,
        request: &TextRequest,
        seed: u32,
    ) -> Result<(Answer, String), GenerationError> {
        let question = request.question(seed);
        if let Some(named) = request.model.as_deref()
            && let Some((server, model)) = self.remotes.find(named)?
        {
            return Ok((self.remotes.ask(server, model, &question).await?, named.to_owned()));
        }
        let model = models.choose(request.model.as_deref()).await.map_err(GenerationError::Model)?;
        let answer = models.write(&model, question).await.map_err(GenerationError::Model)?;
        Ok((answer, model))
    }
}

async fn keep(
    gateway: &Gateway,
    principal: &Principal,
    request: &TextRequest,
    written: &Answer,
    model: &str,
    seed: u32,
) -> Result<Asset, GenerationError> {
    let parameters = request.parameters(model, seed);
    let (assets, principal, kept) = (Arc::clone(&gateway.assets), principal.clone(), written.text.clone());
    off_thread(move || {
        let media_type = "text/plain; charset=utf-8";
        let content = Content { ending: "txt", media_type, bytes: kept.as_bytes() };
        assets.keep(&principal, Kind::Text, parameters, &[content])
    })
    .await
}

impl TextRequest {
    /// A request of the gateway itself.
    pub(super) fn asking(
        prompt: &str,
        system: &str,
        model: Option<&str>,
        max_tokens: u32,
        seed: u32,
    ) -> Self {
        Self {
            prompt: prompt.to_owned(),
            model: model.map(str::to_owned),
            system: Some(system.to_owned()),
            temperature: None,
            max_tokens: Some(max_tokens),
            seed: Some(seed),
        }
    }

    /// Whether this can be generated, when models read prompts of so many bytes.
    pub fn check(&self, most_prompt_bytes: usize) -> Result<(), GenerationError> {
        if self.prompt.trim().is_empty() {
            return Err(GenerationError::invalid(
                "prompt",
                "The prompt is empty; say what is to be written.",
            ));
        }
        let bytes = self.prompt.len() + self.system.as_ref().map_or(0, String::len);
        if bytes > most_prompt_bytes {
            return Err(GenerationError::invalid(
                "prompt",
                format!("The prompt has {bytes} bytes; at most {most_prompt_bytes} are read."),
            ));
        }
        if let Some(number) = self.temperature.filter(|number| !(0.0..=2.0).contains(number)) {
            return Err(GenerationError::invalid(
                "temperature",
                format!("temperature is {number}; it must be between 0 and 2."),
            ));
        }
        if let Some(number) = self.max_tokens.filter(|number| !(1..=MOST_TOKENS).contains(number)) {
            return Err(GenerationError::invalid(
                "max_tokens",
                format!("max_tokens is {number}; it must be between 1 and {MOST_TOKENS}."),
            ));
        }
        Ok(())
    }

    /// What a model is asked.
    fn question(&self, seed: u32) -> Question<'_> {
        Question {
            system: self.system.as_deref(),
            prompt: &self.prompt,
            temperature: self.temperature.unwrap_or(DEFAULT_TEMPERATURE),
            seed,
            max_tokens: self.max_tokens.unwrap_or(DEFAULT_TOKENS),
        }
    }

    /// What makes the same text again.
    fn parameters(&self, model: &str, seed: u32) -> Value {
        json!({
            "prompt": self.prompt,
            "system": self.system,
            "model": model,
            "seed": seed,
            "temperature": self.temperature.unwrap_or(DEFAULT_TEMPERATURE),
            "max_tokens": self.max_tokens.unwrap_or(DEFAULT_TOKENS),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST_PROMPT_BYTES: usize = 1024;

    #[test]
    fn what_cannot_be_generated_is_refused_with_the_field() {
        let long = format!("{{\"prompt\":\"x\",\"system\":{:?}}}", "x".repeat(MOST_PROMPT_BYTES));
        let cases = [
            ("{\"prompt\":\"x\"}", None),
            ("{\"prompt\":\"x\",\"seed\":7,\"temperature\":0,\"max_tokens\":1,\"system\":null}", None),
            ("{\"prompt\":\" \"}", Some("prompt")),
            (&long, Some("prompt")),
            ("{\"prompt\":\"x\",\"temperature\":-1}", Some("temperature")),
            ("{\"prompt\":\"x\",\"max_tokens\":0}", Some("max_tokens")),
        ];
        for (text, expected) in cases {
            let request: TextRequest = serde_json::from_str(text).expect("parses");
            let refused = match request.check(MOST_PROMPT_BYTES) {
                Err(GenerationError::Invalid { param, .. }) => Some(param),
                _ => None,
            };
            assert_eq!(refused, expected);
        }
        assert!(serde_json::from_str::<TextRequest>("{\"prompt\":\"x\",\"steps\":3}").is_err());
    }
}
