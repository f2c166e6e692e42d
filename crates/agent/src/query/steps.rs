//! What happens while a query runs: every model's answer as it comes, then the summary.

use std::pin::Pin;
use std::time::{Duration, Instant};

use actionbooster_models::Role;
use actionbooster_scheduler::LeaseRequest;
use actionbooster_wire::runner::v1 as wire;
use async_stream::stream;
use futures::stream::select_all;
use futures::{Stream, StreamExt};
use serde::Serialize;

use super::Question;
use super::part::Part;
use crate::ask::{Piece, ask, question};
use crate::inference::Inference;
use crate::request_context::RequestContext;
use crate::summary::{Answered, extract, instruction};

/// How long a model waits for memory. Models of one query that do not fit together wait for each other.
const LOAD_TIMEOUT: Duration = Duration::from_secs(1800);

/// One model's answer.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Answer {
    pub(super) model: String,
    /// What it was asked to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning: String,
    error: Option<String>,
    prompt_tokens: u32,
    generated_tokens: u32,
    duration_ms: u64,
}

/// One text for all answers.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    text: String,
    model: Option<String>,
    method: &'static str,
}

/// What happens.
#[derive(Debug)]
pub(super) enum Step {
    Token { model: String, text: String },
    Reasoning { model: String, text: String },
    Answer(Answer),
    SummaryToken(String),
    Summary(Summary),
}

pub(super) type Steps = Pin<Box<dyn Stream<Item = Step> + Send>>;

/// Every model's answer as it comes, then the summary. Dropping it stops everything.
pub(super) fn steps(inference: Inference, context: RequestContext, query: Question) -> Steps {
    Box::pin(stream! {
        let mut answers = Vec::new();
        let ask_one = |part: &Part| {
            answer(inference.clone(), context.lease_request(&part.model, LOAD_TIMEOUT), part, &query)
        };
        let streams: Vec<Steps> = query.parts.iter().map(ask_one).collect();
        let mut all = select_all(streams);
        while let Some(step) = all.next().await {
            if let Step::Answer(answer) = &step
                && answer.error.is_none()
            {
                answers.push(Answered { model: answer.model.clone(), role: answer.role, text: answer.text.clone() });
            }
            yield step;
        }
        // In the order of the question, not of the models' speed: the summary is the same each time.
        answers.sort_by_key(|answer| query.parts.iter().position(|part| part.model == answer.model));
        let mut summary = summarise(inference, context, query, answers);
        while let Some(step) = summary.next().await {
            yield step;
        }
    })
}

/// One model's answer. Its failure is part of the answer and touches no other.
fn answer(inference: Inference, lease_request: LeaseRequest, part: &Part, asked: &Question) -> Steps {
    let request = part.request(&asked.prompt, asked.max_tokens);
    let role = part.role;
    Box::pin(stream! {
        let started = Instant::now();
        let mut answer = Answer { model: lease_request.model.clone(), role, ..Answer::default() };
        let mut pieces = ask(inference, lease_request, request);
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(Piece::Text(wire::Text { text, .. })) => {
                    answer.text.push_str(&text);
                    yield Step::Token { model: answer.model.clone(), text };
                }
                Ok(Piece::Reasoning(text)) => {
                    answer.reasoning.push_str(&text);
                    yield Step::Reasoning { model: answer.model.clone(), text };
                }
                // No tools are offered, so none are called.
                Ok(Piece::Call(_)) => {}
                Ok(Piece::End(account)) => {
                    answer.prompt_tokens = account.prompt_tokens;
                    answer.generated_tokens = account.generated_tokens;
                }
                Err(error) => answer.error = Some(error.to_string()),
            }
        }
        answer.duration_ms = started.elapsed().as_millis() as u64;
        yield Step::Answer(answer);
    })
}

fn summarise(
    inference: Inference,
    context: RequestContext,
    query: Question,
    answers: Vec<Answered>,
) -> Steps {
    Box::pin(stream! {
        if let [only] = answers.as_slice() {
            let Answered { model, text, .. } = only.clone();
            yield Step::SummaryToken(text.clone());
            yield Step::Summary(Summary { text, model: Some(model), method: "single" });
            return;
        }
        let writer = match &query.summary_model {
            Some(named) => Some(named.clone()),
            None => writer(&inference, &answers).await,
        };
        if let Some(writer) = writer {
            let mut text = String::new();
            let mut failed = false;
            let request = request(&instruction(&query.prompt, &answers), query.max_tokens);
            let mut pieces = ask(inference, context.lease_request(&writer, LOAD_TIMEOUT), request);
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(Piece::Text(more)) => {
                        text.push_str(&more.text);
                        yield Step::SummaryToken(more.text);
                    }
                    Ok(Piece::Reasoning(_) | Piece::Call(_) | Piece::End(_)) => {}
                    Err(_) => failed = true,
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

fn request(prompt: &str, max_tokens: u32) -> wire::GenerateRequest {
    wire::GenerateRequest { input: Some(question(prompt)), max_tokens, ..wire::GenerateRequest::default() }
}

/// The first of the answering models that can write freely.
async fn writer(inference: &Inference, answers: &[Answered]) -> Option<String> {
    let listing = inference.index.list().await;
    let can_write = |id: &str| {
        let roles = listing.models.get(id).map(|model| model.manifest.roles.as_slice()).unwrap_or_default();
        roles.iter().any(|role| matches!(role, Role::General | Role::Reasoning))
    };
    answers.iter().map(|answer| &answer.model).find(|id| can_write(id)).cloned()
}
