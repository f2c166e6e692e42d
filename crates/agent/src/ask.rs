//! One question to one model, as a stream of pieces.

use std::pin::Pin;
use std::time::{Duration, Instant};

use actionbooster_chassis::Problem;
use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::generate_event::Event;
use async_stream::try_stream;
use axum::http::StatusCode;
use futures::Stream;
use tonic::{Code, Status, Streaming};

use crate::Agent;
use crate::runners::{Lease, PoolError};

/// Seconds after which a client should try again when memory was short.
const RETRY_AFTER_S: u64 = 10;

/// Part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// More text.
    Text(String),
    /// The end, with the account.
    End(wire::Finished),
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The request itself is wrong.
    #[error("{0}")]
    Request(String),
    /// Too many requests wait for this model.
    #[error("{0}")]
    Busy(String),
    /// The runner ended under the request.
    #[error("the model {id} ended while it answered: {reason}; ask again")]
    Died {
        /// The model.
        id: String,
        /// What is known of it.
        reason: String,
    },
}

impl AskError {
    /// The same as a problem.
    pub(crate) fn problem(&self) -> Problem {
        let detail = chain(self);
        match self {
            Self::Pool(PoolError::Unknown { .. }) => {
                Problem::new(StatusCode::NOT_FOUND, "model_not_found", "There is no such model", detail)
            }
            Self::Pool(PoolError::TooLarge { .. }) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "model_too_large",
                "The model does not fit",
                detail,
            ),
            Self::Pool(PoolError::Busy { .. } | PoolError::Quarantined { .. }) | Self::Busy(_) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "The model is not free now", detail)
                    .retry_after(RETRY_AFTER_S)
            }
            Self::Pool(PoolError::Unusable { .. } | PoolError::Load { .. }) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "model_unusable",
                "The model cannot be used",
                detail,
            ),
            Self::Request(_) => Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "The model refuses the request",
                detail,
            ),
            Self::Died { .. } => {
                Problem::new(StatusCode::BAD_GATEWAY, "runner_died", "The model ended unexpectedly", detail)
            }
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Result<Piece, AskError>> + Send>>;

/// Asks `id` and returns its answer as it comes; the model is loaded when the stream begins.
///
/// The last piece is the end. Dropping the stream stops the model within one decode step.
pub(crate) fn ask(agent: std::sync::Arc<Agent>, id: String, request: wire::GenerateRequest) -> Pieces {
    Box::pin(try_stream! {
        let asked = Instant::now();
        let (lease, mut events) = begin(&agent, &id, &request).await?;
        let mut first = true;
        loop {
            let event = match events.message().await {
                Ok(event) => event,
                Err(status) => Err(judge(&agent, &lease, &id, &status))?,
            };
            match event.and_then(|event| event.event) {
                Some(Event::Text(text)) => {
                    if std::mem::take(&mut first) {
                        note_first_token(&id, asked.elapsed());
                    }
                    yield Piece::Text(text.text);
                }
                Some(Event::Finished(account)) => {
                    agent.pool.worked(&id);
                    metrics::counter!("generated_tokens_total", "model" => id.clone())
                        .increment(account.generated_tokens.into());
                    yield Piece::End(account);
                    break;
                }
                None => {
                    let status = Status::unavailable("it stopped without finishing");
                    Err(judge(&agent, &lease, &id, &status))?;
                }
            }
        }
    })
}

/// Starts the generation. A runner found dead before it said anything is replaced once.
async fn begin(
    agent: &Agent,
    id: &str,
    request: &wire::GenerateRequest,
) -> Result<(Lease, Streaming<wire::GenerateEvent>), AskError> {
    let mut retried = false;
    loop {
        let lease = agent.pool.lease(id).await?;
        match lease.client().generate(request.clone()).await {
            Ok(answer) => return Ok((lease, answer.into_inner())),
            Err(status) => {
                let error = judge(agent, &lease, id, &status);
                if retried || !matches!(error, AskError::Died { .. }) {
                    return Err(error);
                }
                retried = true;
            }
        }
    }
}

/// What a failed call means: a wrong request, a full queue, or a dead runner.
fn judge(agent: &Agent, lease: &Lease, id: &str, status: &Status) -> AskError {
    match status.code() {
        Code::InvalidArgument => AskError::Request(status.message().to_owned()),
        Code::ResourceExhausted => AskError::Busy(status.message().to_owned()),
        _ => {
            agent.pool.died(lease, status.message());
            AskError::Died { id: id.to_owned(), reason: status.message().to_owned() }
        }
    }
}

fn note_first_token(id: &str, elapsed: Duration) {
    metrics::histogram!("time_to_first_token_seconds", "model" => id.to_owned())
        .record(elapsed.as_secs_f64());
}

/// A conversation of one question.
pub(crate) fn question(prompt: &str) -> wire::generate_request::Input {
    let message = wire::ChatMessage { role: "user".into(), content: prompt.to_owned() };
    wire::generate_request::Input::Chat(wire::Chat { messages: vec![message] })
}
