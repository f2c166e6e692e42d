//! `POST /text/gen`: text from one model, kept with everything that made it.

use std::sync::Arc;

use actionbooster_chassis::{Json, Problem};
use actionbooster_models::Role;
use actionbooster_scheduler::Listing;
use actionbooster_wire::runner::v1 as wire;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::assets::{Asset, Content, Kind};
use super::off_thread;
use super::remote::{Answer, Question};
use crate::ask::{self, ask};
use crate::gateway::Gateway;
use crate::problems::unknown_model;
use crate::query::MOST_PROMPT_BYTES;
use crate::request_context::RequestContext;

const DEFAULT_TOKENS: u32 = 512;
const MOST_TOKENS: u32 = 32_768;
const DEFAULT_TEMPERATURE: f32 = 0.8;

/// Body of the request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextRequest {
    prompt: String,
    /// A model of this box, or `<server>/<model>` of a server in the settings.
    model: Option<String>,
    system: Option<String>,
    temperature: Option<f32>,
    max_tokens: Option<u32>,
    seed: Option<u32>,
}

/// Generates, keeps and returns a text. The same request with the seed of the answer gives it again.
pub(crate) async fn text(
    State(gateway): State<Gateway>,
    context: RequestContext,
    Json(request): Json<TextRequest>,
) -> Result<Json<Value>, Problem> {
    request.check()?;
    gateway.assets.check_room()?;
    let seed = request.seed.unwrap_or_else(rand::random);
    let written = write(&gateway, &context, &request, seed).await?;
    let asset = keep(&gateway, &request, &written, seed).await?;
    Ok(Json(json!({
        "id": asset.id,
        "text": written.text,
        "model": written.model,
        "seed": seed,
        "prompt_tokens": written.prompt_tokens,
        "generated_tokens": written.generated_tokens,
        "asset": format!("/api/v1/assets/{}", asset.id),
    })))
}

/// A text that was written.
struct Written {
    text: String,
    model: String,
    prompt_tokens: u32,
    generated_tokens: u32,
}

/// Writes a text and keeps it, for others that build on texts.
pub(super) async fn write_and_keep(
    gateway: &Gateway,
    request: TextRequest,
) -> Result<(String, Asset), Problem> {
    let seed = request.seed.unwrap_or_else(rand::random);
    let written = write(gateway, &RequestContext::background("generations"), &request, seed).await?;
    let asset = keep(gateway, &request, &written, seed).await?;
    Ok((written.text, asset))
}

/// Whether there is a model to write with: the named one, or any.
pub(super) async fn check_model(gateway: &Gateway, named: Option<&str>) -> Result<(), Problem> {
    if let Some(model) = named
        && gateway.remotes.find(model)?.is_some()
    {
        return Ok(());
    }
    choose(named, &gateway.inference.default_models, &gateway.inference.index.list().await).map(drop)
}

async fn write(
    gateway: &Gateway,
    context: &RequestContext,
    request: &TextRequest,
    seed: u32,
) -> Result<Written, Problem> {
    if let Some(named) = request.model.as_deref()
        && let Some((server, model)) = gateway.remotes.find(named)?
    {
        let answer = gateway.remotes.ask(server, model, &request.question(seed)).await?;
        let Answer { text, prompt_tokens, generated_tokens } = answer;
        return Ok(Written { text, model: named.to_owned(), prompt_tokens, generated_tokens });
    }
    let listing = gateway.inference.index.list().await;
    let model = choose(request.model.as_deref(), &gateway.inference.default_models, &listing)?;
    let pieces = ask(
        gateway.inference.clone(),
        context.lease_request(&model, gateway.inference.limits.load_timeout),
        request.generation(seed),
    );
    let answer = ask::Answer::collect(pieces).await.map_err(|error| error.problem())?;
    let (prompt_tokens, generated_tokens) = (answer.account.prompt_tokens, answer.account.generated_tokens);
    Ok(Written { text: answer.text, model, prompt_tokens, generated_tokens })
}

async fn keep(
    gateway: &Gateway,
    request: &TextRequest,
    written: &Written,
    seed: u32,
) -> Result<Asset, Problem> {
    let parameters = request.parameters(&written.model, seed);
    let (assets, kept) = (Arc::clone(&gateway.assets), written.text.clone());
    off_thread(move || {
        let media_type = "text/plain; charset=utf-8";
        assets.keep(Kind::Text, parameters, &[Content { ending: "txt", media_type, bytes: kept.as_bytes() }])
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

    fn check(&self) -> Result<(), Problem> {
        if self.prompt.trim().is_empty() {
            return Err(invalid("prompt", "The prompt is empty; say what is to be written."));
        }
        let bytes = self.prompt.len() + self.system.as_ref().map_or(0, String::len);
        if bytes > MOST_PROMPT_BYTES {
            return Err(invalid(
                "prompt",
                format!("The prompt has {bytes} bytes; at most {MOST_PROMPT_BYTES} are read."),
            ));
        }
        if let Some(number) = self.temperature.filter(|number| !(0.0..=2.0).contains(number)) {
            return Err(invalid(
                "temperature",
                format!("temperature is {number}; it must be between 0 and 2."),
            ));
        }
        if let Some(number) = self.max_tokens.filter(|number| !(1..=MOST_TOKENS).contains(number)) {
            return Err(invalid(
                "max_tokens",
                format!("max_tokens is {number}; it must be between 1 and {MOST_TOKENS}."),
            ));
        }
        Ok(())
    }

    fn generation(&self, seed: u32) -> wire::GenerateRequest {
        let message = |role: &str, content: &str| wire::ChatMessage {
            role: role.into(),
            content: content.into(),
            ..wire::ChatMessage::default()
        };
        let system = self.system.as_deref().map(|text| message("system", text));
        let messages = system.into_iter().chain([message("user", &self.prompt)]).collect();
        let sampling = wire::Sampling {
            temperature: Some(self.temperature.unwrap_or(DEFAULT_TEMPERATURE)),
            seed: Some(seed),
            ..wire::Sampling::default()
        };
        wire::GenerateRequest {
            input: Some(wire::generate_request::Input::Chat(wire::Chat {
                messages,
                ..wire::Chat::default()
            })),
            sampling: Some(sampling),
            max_tokens: self.max_tokens.unwrap_or(DEFAULT_TOKENS),
            ..wire::GenerateRequest::default()
        }
    }

    /// The same for another server.
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

/// The named model; else the first that the owner chose, the first that can write, the first of all.
fn choose(named: Option<&str>, chosen: &[String], listing: &Listing) -> Result<String, Problem> {
    if let Some(id) = named {
        return if listing.models.contains_key(id) {
            Ok(id.to_owned())
        } else {
            Err(unknown_model(id, listing))
        };
    }
    let exists = |id: &&String| listing.models.contains_key(*id);
    let writes = |id: &&String| listing.models[*id].manifest.roles.contains(&Role::General);
    let own = chosen.iter().find(exists);
    let model = own.or_else(|| listing.models.keys().find(writes)).or_else(|| listing.models.keys().next());
    model.cloned().ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-models",
            "There is no model to ask",
            "Add a model to the store first.",
        )
    })
}

fn invalid(param: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This cannot be generated", detail)
        .with("param", param)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let refused = request.check().err().map(|problem| problem.to_json()["param"].clone());
            assert_eq!(refused, expected.map(Value::from));
        }
        assert!(serde_json::from_str::<TextRequest>("{\"prompt\":\"x\",\"steps\":3}").is_err());
    }
}
