//! The two forms of a query's reply: one JSON object, or server-sent events.

use std::convert::Infallible;

use actionbooster_chassis::Problem;
use async_stream::stream;
use axum::response::IntoResponse;
use axum::response::sse::Event;
use futures::StreamExt;
use serde_json::{Value, json};

use super::part::Part;
use super::plan::Plan;
use super::steps::{Step, Steps};
use crate::api::backpressure::with_backpressure;
use crate::api::stream::server_sent;

/// Everything at the end; the answers in the order in which the models were named.
pub(super) async fn collected(
    id: &str,
    parts: &[Part],
    plan: &Plan,
    mut steps: Steps,
) -> Result<Value, Problem> {
    let mut answers = Vec::new();
    let mut summary = None;
    while let Some(step) = steps.next().await {
        match step {
            Step::Answer(answer) => answers.push(answer),
            Step::Summary(done) => summary = Some(done),
            Step::Failed(problem) => return Err(problem),
            Step::Token { .. } | Step::Reasoning { .. } | Step::SummaryToken(_) => {}
        }
    }
    answers.sort_by_key(|answer| parts.iter().position(|part| part.model == answer.model));
    Ok(json!({"id": id, "plan": plan, "answers": answers, "summary": summary}))
}

/// Everything as it happens.
pub(super) fn events(id: String, parts: Vec<Part>, plan: Plan, steps: Steps) -> impl IntoResponse {
    let models: Vec<String> = parts.iter().map(|part| part.model.clone()).collect();
    let mut steps = Box::pin(with_backpressure(steps));
    let events = stream! {
        yield Ok::<_, Infallible>(event("start", &json!({"id": id, "models": models, "parts": parts, "plan": plan})));
        while let Some(step) = steps.next().await {
            yield Ok(match step {
                Ok(Step::Token { model, text }) => event("token", &json!({"model": model, "text": text})),
                Ok(Step::Reasoning { model, text }) => event("reasoning", &json!({"model": model, "text": text})),
                Ok(Step::Answer(answer)) => event("answer", &json!(answer)),
                Ok(Step::SummaryToken(text)) => event("summary_token", &json!({"text": text})),
                Ok(Step::Summary(summary)) => event("summary", &json!(summary)),
                Ok(Step::Failed(problem)) => event("error", &problem.to_json()),
                Err(stalled) => {
                    yield Ok(event("error", &stalled.problem().to_json()));
                    return;
                }
            });
        }
        yield Ok(event("done", &json!({})));
    };
    server_sent(events)
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}
