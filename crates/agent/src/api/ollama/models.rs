//! What models there are, what they are like, and which are loaded.

use actionbooster_chassis::{Json, Problem};
use actionbooster_models::{Model, Role};
use actionbooster_scheduler::{ModelDetails, ModelState, ScheduleError};
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::named;
use crate::inference::{Inference, id_of};
use crate::library::created;
use crate::problems::{self, unknown_model};

/// The version of Ollama whose API this is: clients look at it to see what they may ask for.
const API_VERSION: &str = "0.12.6";

/// `GET /api/version`.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({"version": API_VERSION}))
}

/// `GET /api/tags`.
pub(crate) async fn tags(State(inference): State<Inference>) -> Json<Value> {
    let listing = inference.index.list().await;
    let mut models = Vec::with_capacity(listing.models.len());
    for model in listing.models.values() {
        let details = inference.index.details(model.clone()).await.unwrap_or_default();
        models.push(described(model, &details));
    }
    Json(json!({"models": models}))
}

/// Body of `POST /api/show`.
#[derive(Deserialize)]
pub(crate) struct ShowRequest {
    model: Option<String>,
    name: Option<String>,
}

/// `POST /api/show`.
pub(crate) async fn show(
    State(inference): State<Inference>,
    Json(request): Json<ShowRequest>,
) -> Result<Json<Value>, Problem> {
    let name = named(request.model, request.name)?;
    let listing = inference.index.list().await;
    let id = id_of(&name, &listing);
    let model = listing.models.get(&id).ok_or_else(|| unknown_model(&name, &listing))?;
    let details = inference.index.details(model.clone()).await.map_err(|reason| {
        let error = ScheduleError::Unusable { id: id.clone(), reason };
        problems::scheduling(&error)
    })?;
    let mut capabilities = vec!["completion"];
    if model.manifest.roles.contains(&Role::Embedding) {
        capabilities = vec!["embedding"];
    } else {
        // Any model can be told about tools; how well it calls them is another matter.
        capabilities.push("tools");
        if details.template.contains("</think>") {
            capabilities.push("thinking");
        }
    }
    let sampling = &model.manifest.sampling;
    let parameters: Vec<String> = [
        ("temperature", sampling.temperature.map(|value| value.to_string())),
        ("top_p", sampling.top_p.map(|value| value.to_string())),
        ("top_k", sampling.top_k.map(|value| value.to_string())),
        ("min_p", sampling.min_p.map(|value| value.to_string())),
        ("repeat_penalty", sampling.repeat_penalty.map(|value| value.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| format!("{name} {value}")))
    .collect();
    let shape = described(model, &details);
    let info: Map<String, Value> = details.metadata.into_iter().collect();
    Ok(Json(json!({
        "modelfile": format!("FROM {id}\n"),
        "parameters": parameters.join("\n"),
        "template": details.template,
        "license": model.manifest.licence,
        "details": shape["details"],
        "model_info": info,
        "capabilities": capabilities,
        "modified_at": shape["modified_at"],
    })))
}

/// `GET /api/ps`.
pub(crate) async fn ps(State(inference): State<Inference>) -> Json<Value> {
    let listing = inference.index.list().await;
    let states = inference.scheduler.states();
    let loaded = |id: &String| matches!(states.get(id), Some((ModelState::Ready, _)));
    let mut models = Vec::new();
    for (id, model) in &listing.models {
        if !loaded(id) {
            continue;
        }
        let details = inference.index.details(model.clone()).await.unwrap_or_default();
        let mut told = described(model, &details);
        told["size"] = inference.index.memory_bytes(model.clone()).await.unwrap_or(0).into();
        told["size_vram"] = 0.into();
        told["context_length"] = inference.index.context_tokens(model.clone()).await.unwrap_or(0).into();
        told["expires_at"] = inference.scheduler.expires(id).unwrap_or_else(never).to_string().into();
        models.push(told);
    }
    Json(json!({"models": models}))
}

/// When a model goes that is kept for ever: clients want a time, and Ollama itself says this one.
fn never() -> Timestamp {
    Timestamp::now().saturating_add(SignedDuration::from_nanos(i64::MAX)).unwrap_or(Timestamp::MAX)
}

fn described(model: &Model, details: &ModelDetails) -> Value {
    let manifest = &model.manifest;
    let modified = i64::try_from(created(model)).ok().and_then(|second| Timestamp::from_second(second).ok());
    json!({
        "name": manifest.id,
        "model": manifest.id,
        "modified_at": modified.unwrap_or(Timestamp::UNIX_EPOCH).to_string(),
        "size": manifest.size_bytes,
        "digest": manifest.sha256,
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": details.architecture,
            "families": [details.architecture],
            "parameter_size": billions(details.parameters),
            "quantization_level": details.quantisation,
        },
    })
}

/// As Ollama writes it: 494M, 1.5B.
fn billions(parameters: u64) -> String {
    match parameters as f64 {
        count if count >= 1e9 => format!("{:.1}B", count / 1e9),
        count if count >= 1e6 => format!("{:.0}M", count / 1e6),
        count => format!("{:.0}K", count / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::billions;

    #[test]
    fn sizes_are_written_short() {
        assert_eq!(billions(7_615_616_512), "7.6B");
        assert_eq!(billions(494_032_768), "494M");
        assert_eq!(billions(2_900_000), "3M");
        assert_eq!(billions(260_000), "260K");
    }
}
