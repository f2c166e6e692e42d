//! `POST /query`: one question to several models at once, and one summary.

mod part;
mod plan;
mod reply;
mod route;
mod selection;
mod steps;
mod summary;

use std::collections::BTreeMap;

use actionbooster_chassis::{Json, Problem};
use actionbooster_models::Role;
use actionbooster_scheduler::Listing;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use part::{Part, parts};
use serde::Deserialize;

use crate::inference::Inference;
use crate::problems::unknown_model;
use crate::request_context::RequestContext;

pub(crate) use route::route;

/// Tokens of an answer when the request does not say.
const DEFAULT_TOKENS: u32 = 512;
const MOST_TOKENS: u32 = 32_768;
const MOST_MODELS: usize = 16;
/// Longest prompt; no context of a model that fits in such a box holds more.
pub(crate) const MOST_PROMPT_BYTES: usize = 1024 * 1024;

/// Body of the request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    prompt: String,
    #[serde(default)]
    models: Option<Vec<String>>,
    /// What models are good for, where the request knows better than their manifests.
    #[serde(default)]
    roles: BTreeMap<String, Role>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    max_tokens: Option<u32>,
    /// Who writes the summary; one of those who answered when absent.
    #[serde(default)]
    summary_model: Option<String>,
}

/// What is asked of whom, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    prompt: String,
    parts: Vec<Part>,
    max_tokens: u32,
    summary_model: Option<String>,
}

/// Asks all chosen models; JSON at the end, or server-sent events as it happens.
pub(crate) async fn query(
    State(inference): State<Inference>,
    context: RequestContext,
    headers: HeaderMap,
    Json(query): Json<Query>,
) -> Result<Response, Problem> {
    let listing = inference.index.list().await;
    check(&query, &listing)?;
    let models = match query.models {
        Some(named) if !named.is_empty() => named,
        _ => default_models(&inference, &listing).await,
    };
    let question = Question {
        prompt: query.prompt,
        parts: parts(&inference, &listing, without_repetition(models), &query.roles).await,
        max_tokens: query.max_tokens.unwrap_or(DEFAULT_TOKENS),
        summary_model: query.summary_model,
    };
    let id = format!("q-{:016x}", rand::random::<u64>());
    let parts = question.parts.clone();
    let plan = plan::plan(&inference, &question).await;
    let steps = steps::steps(inference, context, question, plan.clone());
    if query.stream.unwrap_or_else(|| wants_events(&headers)) {
        return Ok(reply::events(id, parts, plan, steps).into_response());
    }
    Ok(Json(reply::collected(&id, &parts, &plan, steps).await?).into_response())
}

fn wants_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|kind| kind.trim().starts_with("text/event-stream"))
}

fn check(query: &Query, listing: &Listing) -> Result<(), Problem> {
    if query.prompt.trim().is_empty() {
        return Err(invalid("The prompt is empty; write a question."));
    }
    if query.prompt.len() > MOST_PROMPT_BYTES {
        let bytes = query.prompt.len();
        return Err(invalid(format!(
            "The prompt has {bytes} bytes; at most {MOST_PROMPT_BYTES} can be asked."
        )));
    }
    if let Some(tokens) = query.max_tokens.filter(|tokens| !(1..=MOST_TOKENS).contains(tokens)) {
        return Err(invalid(format!("max_tokens is {tokens}; it must be between 1 and {MOST_TOKENS}.")));
    }
    if listing.models.is_empty() {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-models",
            "There is no model to ask",
            "Add a model to the store first.",
        ));
    }
    let named = query.models.as_deref().unwrap_or_default();
    if named.len() > MOST_MODELS {
        let count = named.len();
        return Err(invalid(format!("{count} models are named; at most {MOST_MODELS} are asked at once.")));
    }
    match named
        .iter()
        .chain(query.roles.keys())
        .chain(&query.summary_model)
        .find(|id| !listing.models.contains_key(*id))
    {
        Some(id) => Err(unknown_model(id, listing)),
        None => Ok(()),
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This cannot be asked", detail)
}

/// The configured models that exist; without any, every model that fits into memory; failing that,
/// every model, so that the answers say what is wrong.
async fn default_models(inference: &Inference, listing: &Listing) -> Vec<String> {
    let exists = |id: &&String| listing.models.contains_key(*id);
    let configured: Vec<String> = inference.default_models.iter().filter(exists).cloned().collect();
    if !configured.is_empty() {
        return configured;
    }
    let mut fitting = Vec::new();
    for (id, model) in &listing.models {
        if model.manifest.roles == [Role::Embedding] {
            continue;
        }
        if inference
            .index
            .memory_bytes(model.clone())
            .await
            .is_ok_and(|bytes| inference.scheduler.fits(bytes))
        {
            fitting.push(id.clone());
        }
    }
    if fitting.is_empty() {
        fitting = listing.models.keys().cloned().collect();
    }
    fitting.truncate(MOST_MODELS);
    fitting
}

fn without_repetition(models: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    models.into_iter().filter(|id| seen.insert(id.clone())).collect()
}

#[cfg(test)]
mod tests {
    use actionbooster_models::{Manifest, Model};
    use axum::http::HeaderValue;

    use super::*;

    fn listing(ids: &[&str]) -> Listing {
        let model = |id: &str| {
            let text = format!(
                "id = {id:?}\nname = \"N\"\nfile = \"m.gguf\"\nsha256 = \"{}\"\nsize_bytes = 1\nlicence = \"MIT\"\n",
                "0".repeat(64)
            );
            let manifest = Manifest::parse(&text).expect("manifest");
            (id.to_owned(), Model { manifest, folder: "/nowhere".into(), built_in: false })
        };
        Listing { models: ids.iter().map(|id| model(id)).collect(), errors: Vec::new() }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_what_to_do() {
        let long = format!("{{\"prompt\":{:?}}}", "x".repeat(MOST_PROMPT_BYTES + 1));
        let many = format!("{{\"prompt\":\"x\",\"models\":{:?}}}", vec!["a"; 17]);
        let cases = [
            ("{\"prompt\":\"hi\"}", 200, ""),
            ("{\"prompt\":\"hi\",\"models\":[\"a\"],\"max_tokens\":5,\"stream\":null}", 200, ""),
            ("{\"prompt\":\" \\n\"}", 422, "empty"),
            (&long, 422, "at most 1048576"),
            (&many, 422, "17 models"),
            ("{\"prompt\":\"x\",\"roles\":{\"a\":\"long-context\"}}", 200, ""),
            ("{\"prompt\":\"x\",\"roles\":{\"b\":\"code\"}}", 404, "no model b"),
            ("{\"prompt\":\"x\",\"max_tokens\":0}", 422, "max_tokens"),
            ("{\"prompt\":\"x\",\"max_tokens\":99999}", 422, "max_tokens"),
            ("{\"prompt\":\"x\",\"models\":[\"a\",\"zz\"]}", 404, "no model zz"),
        ];
        for (text, status, word) in cases {
            let query: Query = serde_json::from_str(text).expect("parses");
            match check(&query, &listing(&["a"])) {
                Ok(()) => assert_eq!(status, 200, "{word}"),
                Err(problem) => {
                    assert_eq!(problem.status().as_u16(), status, "{word}");
                    assert!(problem.detail().contains(word), "{word}: {}", problem.detail());
                }
            }
        }
        let query: Query = serde_json::from_str("{\"prompt\":\"x\"}").expect("parses");
        assert_eq!(check(&query, &listing(&[])).expect_err("empty store").status().as_u16(), 503);
    }

    #[test]
    fn a_model_named_twice_is_asked_once() {
        let named = ["b", "a", "b"].map(String::from).to_vec();
        assert_eq!(without_repetition(named), ["b", "a"]);
    }

    #[test]
    fn events_are_sent_to_who_accepts_them() {
        for (accept, expected) in [
            ("text/event-stream", true),
            ("application/json, text/event-stream;q=0.5", true),
            ("application/json", false),
            ("*/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wants_events(&headers), expected, "{accept}");
        }
        assert!(!wants_events(&HeaderMap::new()));
    }
}
