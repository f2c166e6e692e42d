//! What happens while a query runs: every model's answer as it comes, then the summary.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actionbooster_chassis::Problem;
use actionbooster_models::Role;
use actionbooster_scheduler::LeaseRequest;
use actionbooster_wire::runner::v1 as wire;
use async_stream::stream;
use axum::http::StatusCode;
use futures::stream::select_all;
use futures::{Stream, StreamExt};
use serde::Serialize;

use super::Question;
use super::part::Part;
use super::plan::{Plan, can_write};
use super::selection::{LeftOut, Selection};
use super::summary::{Answered, Point, extract, instruction, points, stands_for};
use crate::ask::{AskError, Piece, ask, question};
use crate::inference::Inference;
use crate::request_context::RequestContext;

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
    #[serde(skip)]
    failure: Option<AskError>,
    /// `stop`, or `length` where a limit cut it off; absent where it failed.
    finish_reason: Option<&'static str>,
    prompt_tokens: u32,
    generated_tokens: u32,
    duration_ms: u64,
}

/// One text for all answers.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    text: String,
    /// Who wrote it, or whose answer it is.
    model: Option<String>,
    method: Method,
    /// Who says what: what several agree on first.
    points: Vec<Point>,
    /// The answers that are no part of it.
    left_out: Vec<LeftOut>,
}

/// How a summary was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Method {
    /// A model wrote it out of the answers.
    Model,
    /// It is made of their sentences.
    Extractive,
    /// There is one answer.
    Single,
    /// The question is about this box, and its manual has the answer.
    Manual,
    /// Nobody knows: what the first who declined says.
    Declined,
    /// No answer is worth telling again; what is wrong with each is told.
    None,
}

/// What happens.
#[derive(Debug)]
pub(super) enum Step {
    Token {
        model: String,
        text: String,
    },
    Reasoning {
        model: String,
        text: String,
    },
    Answer(Answer),
    SummaryToken(String),
    Summary(Summary),
    /// No model answered.
    Failed(Problem),
}

pub(super) type Steps = Pin<Box<dyn Stream<Item = Step> + Send>>;

/// Every model's answer as it comes, then the summary. Dropping it stops everything.
pub(super) fn steps(inference: Inference, context: RequestContext, query: Question, plan: Plan) -> Steps {
    Box::pin(stream! {
        let started = Instant::now();
        let mut selection = Selection::of(&inference.index.list().await);
        let mut failures = Vec::new();
        let ask_one = |part: &Part| {
            answer(inference.clone(), context.lease_request(&part.model, LOAD_TIMEOUT), part, &query)
        };
        let streams: Vec<Steps> = query.parts.iter().map(ask_one).collect();
        let mut all = select_all(streams);
        while let Some(step) = all.next().await {
            if let Step::Answer(answer) = &step {
                failures.extend(answer.failure.clone());
                let answered =
                    Answered { model: answer.model.clone(), role: answer.role, text: answer.text.clone() };
                selection.take(answered, answer.failure.is_some());
            }
            yield step;
        }
        if failures.len() == query.parts.len() {
            yield Step::Failed(none_answered(&failures));
            return;
        }
        selection.sort_by(|id| query.parts.iter().position(|part| part.model == id));
        let whole = failures.is_empty();
        let latency = Arc::clone(&inference.latency);
        let mut summary = summarise(inference, context, query, selection);
        while let Some(step) = summary.next().await {
            yield step;
        }
        if whole {
            latency.record_query(plan.raw_estimate_s(), started.elapsed());
        }
    })
}

/// The problem when no model answered: that of one of them where they all failed alike, else what each says.
fn none_answered(failures: &[AskError]) -> Problem {
    let most = |context: &AskError| match context {
        AskError::TooLong { context, .. } => Some(*context),
        _ => None,
    };
    // The one with the largest context says by how much the question is too long.
    let nearest = failures.iter().max_by_key(|error| most(error));
    match nearest {
        Some(error) if failures.iter().all(|other| other.class() == error.class()) => error.problem(),
        _ => {
            let reasons: Vec<String> = failures.iter().map(ToString::to_string).collect();
            let detail = reasons.join("; ");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-answer", "No model answered", detail)
        }
    }
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
                    answer.finish_reason = Some(finish_reason(&account));
                }
                Err(error) => {
                    answer.error = Some(error.to_string());
                    answer.failure = Some(error);
                }
            }
        }
        answer.duration_ms = started.elapsed().as_millis() as u64;
        yield Step::Answer(answer);
    })
}

fn finish_reason(account: &wire::Finished) -> &'static str {
    if account.reason() == wire::finished::Reason::Length { "length" } else { "stop" }
}

/// The summary that nobody has to write.
fn unwritten(selection: &Selection) -> Option<(Method, Option<&Answered>)> {
    match (selection.manual(), selection.answers.as_slice(), &selection.declined) {
        (_, [only], _) => Some((Method::Single, Some(only))),
        // The manual knows this box; whoever else was asked can only guess.
        (Some(manual), _, _) => Some((Method::Manual, Some(manual))),
        (_, [], Some(declined)) => Some((Method::Declined, Some(declined))),
        (_, [], None) => Some((Method::None, None)),
        _ => None,
    }
}

fn summarise(inference: Inference, context: RequestContext, query: Question, selection: Selection) -> Steps {
    Box::pin(stream! {
        let points = points(&selection.answers);
        if let Some((method, answer)) = unwritten(&selection) {
            let (model, text) = (answer.map(|answer| answer.model.clone()), answer.map(|answer| answer.text.clone()));
            let text = text.unwrap_or_default();
            yield Step::SummaryToken(text.clone());
            yield Step::Summary(Summary { text, model, method, points, left_out: selection.left_out });
            return;
        }
        let Selection { answers, left_out, .. } = selection;
        let writer = match &query.summary_model {
            Some(named) => Some(named.clone()),
            None => writer(&inference, &answers).await,
        };
        if let Some(writer) = writer {
            let mut text = String::new();
            let mut whole = false;
            let request = request(&instruction(&query.prompt, &answers), query.max_tokens);
            let mut pieces = ask(inference, context.lease_request(&writer, LOAD_TIMEOUT), request);
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(Piece::Text(more)) => {
                        text.push_str(&more.text);
                        yield Step::SummaryToken(more.text);
                    }
                    Ok(Piece::End(account)) => whole = finish_reason(&account) == "stop",
                    Ok(Piece::Reasoning(_) | Piece::Call(_)) | Err(_) => {}
                }
            }
            if whole && stands_for(&text, &points) {
                yield Step::Summary(Summary { text, model: Some(writer), method: Method::Model, points, left_out });
                return;
            }
        }
        // What a writer began that failed, was cut off or says too little is replaced by the final summary.
        let text = extract(&points);
        yield Step::SummaryToken(text.clone());
        yield Step::Summary(Summary { text, model: None, method: Method::Extractive, points, left_out });
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
        roles.iter().copied().any(can_write)
    };
    answers.iter().map(|answer| &answer.model).find(|id| can_write(id)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_written_where_several_answers_are_left_and_none_is_the_manuals() {
        let endless = "again and again ".repeat(20);
        for (answers, expected) in [
            (vec![("one", "It rains."), ("two", "It is dry.")], None),
            (
                vec![("one", "It rains."), ("guide", "Press the button.")],
                Some((Method::Manual, Some("guide"))),
            ),
            (
                vec![("one", "It rains."), ("guide", "I do not know that.")],
                Some((Method::Single, Some("one"))),
            ),
            (vec![("guide", "Press the button.")], Some((Method::Single, Some("guide")))),
            (vec![("one", "I do not know."), ("two", "")], Some((Method::Declined, Some("one")))),
            (vec![("one", endless.as_str())], Some((Method::None, None))),
        ] {
            let mut selection = Selection::default();
            for (model, text) in &answers {
                let role = (*model == "guide").then_some(Role::Guide);
                let answered = Answered { model: (*model).to_owned(), role, text: (*text).to_owned() };
                selection.take(answered, false);
            }
            let seen = unwritten(&selection);
            let seen = seen.map(|(method, answer)| (method, answer.map(|answer| answer.model.as_str())));
            assert_eq!(seen, expected, "{answers:?}");
        }
    }
}
