//! `POST /query`: one question to several models at once, and one summary.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actionbooster_chassis::{Json, Problem};
use actionbooster_models::Role;
use actionbooster_wire::runner::v1 as wire;
use async_stream::stream;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::select_all;
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ask::{Piece, ask, question};
use crate::summary::{Answered, extract, instruction};
use crate::{Agent, Shared};

/// Tokens of an answer when the request does not say.
const DEFAULT_TOKENS: u32 = 512;
const MOST_TOKENS: u32 = 32_768;
const MOST_MODELS: usize = 16;
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Body of the request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    prompt: String,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    stream: bool,
    max_tokens: Option<u32>,
}

/// One model's answer.
#[derive(Debug, Clone, Default, Serialize)]
struct Answer {
    model: String,
    text: String,
    error: Option<String>,
    prompt_tokens: u32,
    generated_tokens: u32,
    duration_ms: u64,
}

#[derive(Debug, Clone, Serialize)]
struct Summary {
    text: String,
    model: Option<String>,
    method: &'static str,
}

/// What happens while a query runs.
enum Step {
    Token { model: String, text: String },
    Answer(Answer),
    SummaryToken(String),
    Summary(Summary),
}

type Steps = Pin<Box<dyn Stream<Item = Step> + Send>>;

/// Asks all chosen models; JSON at the end, or server-sent events as it happens.
pub(crate) async fn query(
    State(agent): State<Shared>,
    headers: HeaderMap,
    Json(query): Json<Query>,
) -> Result<Response, Problem> {
    let models = chosen(&agent, &query)?;
    let max_tokens = query.max_tokens.unwrap_or(DEFAULT_TOKENS).clamp(1, MOST_TOKENS);
    let id = format!("q-{:016x}", rand::random::<u64>());
    let wants_events = query.stream
        || headers
            .get(header::ACCEPT)
            .is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"));
    metrics::counter!("queries_total").increment(1);
    let steps = steps(agent, query.prompt, models.clone(), max_tokens);
    if wants_events {
        return Ok(Sse::new(events(id, models, steps))
            .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
            .into_response());
    }
    Ok(Json(collected(&id, &models, steps).await).into_response())
}

fn chosen(agent: &Agent, query: &Query) -> Result<Vec<String>, Problem> {
    let invalid = |detail: String| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This cannot be asked", detail)
    };
    if query.prompt.trim().is_empty() {
        return Err(invalid("The prompt is empty; write a question.".into()));
    }
    let (store, _) = agent.store.list();
    let named = if query.models.is_empty() { &agent.chosen } else { &query.models };
    let mut models: Vec<String> = Vec::new();
    for id in named {
        if !store.contains_key(id) {
            let known: Vec<&str> = store.keys().map(String::as_str).collect();
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "model_not_found",
                "There is no such model",
                format!("There is no model {id}; there are {}.", known.join(", ")),
            ));
        }
        if !models.contains(id) {
            models.push(id.clone());
        }
    }
    if models.is_empty() {
        models = store.into_keys().collect();
    }
    if models.is_empty() {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-models",
            "There is no model to ask",
            "Add a model to the store first.",
        ));
    }
    if models.len() > MOST_MODELS {
        return Err(invalid(format!(
            "{} models are named; at most {MOST_MODELS} are asked at once.",
            models.len()
        )));
    }
    Ok(models)
}

/// Every model's answer as it comes, then the summary. Dropping it stops everything.
fn steps(agent: Arc<Agent>, prompt: String, models: Vec<String>, max_tokens: u32) -> Steps {
    Box::pin(stream! {
        let mut answers = Vec::new();
        let streams: Vec<Steps> =
            models.iter().map(|id| answer(Arc::clone(&agent), id.clone(), &prompt, max_tokens)).collect();
        let mut all = select_all(streams);
        while let Some(step) = all.next().await {
            if let Step::Answer(answer) = &step
                && answer.error.is_none()
            {
                answers.push(Answered { model: answer.model.clone(), text: answer.text.clone() });
            }
            yield step;
        }
        let mut summary = summarise(agent, prompt, answers, max_tokens);
        while let Some(step) = summary.next().await {
            yield step;
        }
    })
}

/// One model's answer. Its failure is part of the answer and touches no other.
fn answer(agent: Arc<Agent>, id: String, prompt: &str, max_tokens: u32) -> Steps {
    let request = wire::GenerateRequest {
        input: Some(question(prompt)),
        max_tokens,
        ..wire::GenerateRequest::default()
    };
    Box::pin(stream! {
        let started = Instant::now();
        let mut answer = Answer { model: id.clone(), ..Answer::default() };
        let mut pieces = ask(agent, id, request);
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(Piece::Text(text)) => {
                    answer.text.push_str(&text);
                    yield Step::Token { model: answer.model.clone(), text };
                }
                Ok(Piece::End(account)) => {
                    answer.prompt_tokens = account.prompt_tokens;
                    answer.generated_tokens = account.generated_tokens;
                }
                Err(error) => answer.error = Some(error.problem().detail().to_owned()),
            }
        }
        answer.duration_ms = started.elapsed().as_millis() as u64;
        yield Step::Answer(answer);
    })
}

fn summarise(agent: Arc<Agent>, prompt: String, answers: Vec<Answered>, max_tokens: u32) -> Steps {
    Box::pin(stream! {
        if let [only] = answers.as_slice() {
            yield Step::SummaryToken(only.text.clone());
            yield Step::Summary(Summary { text: only.text.clone(), model: Some(only.model.clone()), method: "single" });
            return;
        }
        let mut text = String::new();
        if let Some(writer) = writer(&agent, &answers) {
            let input = Some(question(&instruction(&prompt, &answers)));
            let request = wire::GenerateRequest { input, max_tokens, ..wire::GenerateRequest::default() };
            let mut pieces = ask(agent, writer.clone(), request);
            let mut failed = false;
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(Piece::Text(more)) => {
                        text.push_str(&more);
                        yield Step::SummaryToken(more);
                    }
                    Ok(Piece::End(_)) => {}
                    Err(error) => {
                        tracing::warn!(model = writer, "the summary could not be written: {error}");
                        failed = true;
                    }
                }
            }
            if !failed && !text.trim().is_empty() {
                yield Step::Summary(Summary { text, model: Some(writer), method: "model" });
                return;
            }
        }
        // What a failed writer began is replaced by the final summary.
        let text = extract(&answers);
        yield Step::SummaryToken(text.clone());
        yield Step::Summary(Summary { text, model: None, method: "extractive" });
    })
}

/// The first of the answering models that can write freely.
fn writer(agent: &Agent, answers: &[Answered]) -> Option<String> {
    let (store, _) = agent.store.list();
    let can_write = |id: &str| {
        store.get(id).is_some_and(|model| {
            model.manifest.roles.iter().any(|role| matches!(role, Role::General | Role::Reasoning))
        })
    };
    answers.iter().map(|answer| &answer.model).find(|id| can_write(id)).cloned()
}

async fn collected(id: &str, models: &[String], mut steps: Steps) -> Value {
    let mut answers = Vec::new();
    let mut summary = None;
    while let Some(step) = steps.next().await {
        match step {
            Step::Answer(answer) => answers.push(answer),
            Step::Summary(done) => summary = Some(done),
            Step::Token { .. } | Step::SummaryToken(_) => {}
        }
    }
    // In the order in which the models were named.
    answers.sort_by_key(|answer| models.iter().position(|model| *model == answer.model));
    json!({"id": id, "answers": answers, "summary": summary})
}

fn events(
    id: String,
    models: Vec<String>,
    mut steps: Steps,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream! {
        yield Ok(event("start", &json!({"id": id, "models": models})));
        while let Some(step) = steps.next().await {
            yield Ok(match step {
                Step::Token { model, text } => event("token", &json!({"model": model, "text": text})),
                Step::Answer(answer) => event("answer", &json!(answer)),
                Step::SummaryToken(text) => event("summary_token", &json!({"text": text})),
                Step::Summary(summary) => event("summary", &json!(summary)),
            });
        }
        yield Ok(event("done", &json!({})));
    }
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}
