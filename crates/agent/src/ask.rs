//! One question to one model, as a stream of pieces.

use std::error::Error as _;
use std::pin::Pin;
use std::time::Duration;

use actionbooster_chassis::Problem;
use actionbooster_scheduler::{Lease, LeaseRequest, ScheduleError};
use actionbooster_wire::runner::v1::generate_event::Event;
use actionbooster_wire::runner::v1::generate_request::Input;
use actionbooster_wire::runner::v1::runner_client::RunnerClient;
use actionbooster_wire::runner::{CONTEXT_TOKENS, MOST_MESSAGE_BYTES, PROMPT_TOKENS, v1 as wire};
use async_stream::try_stream;
use axum::http::StatusCode;
use futures::{Stream, StreamExt};
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::cost;
use crate::count::count_with;
use crate::inference::Inference;
use crate::problems;
use crate::tally::Tally;

/// How long [`begun`] waits.
const FIRST_WAIT: Duration = Duration::from_secs(20);

/// Part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// More text.
    Text(wire::Text),
    /// More of what the model thinks before it answers.
    Reasoning(String),
    /// A function the model calls.
    Call(wire::ToolCall),
    /// The end, with the account.
    End(wire::Finished),
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AskError {
    /// The model cannot be used now.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The request itself is wrong.
    #[error("{0}")]
    Request(String),
    /// The prompt leaves no room for an answer.
    #[error(
        "this model's maximum context length is {context} tokens, and the prompt has {prompt}; shorten it, or start \
         a new conversation"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: u32,
        /// Tokens of the context, of which at least one is for the answer.
        context: u32,
    },
    /// More than a runner reads, once it is in its words.
    #[error("the request has more than {} MiB with everything that belongs to it; send less", MOST_MESSAGE_BYTES >> 20)]
    TooLarge,
    /// Too many requests wait for this model.
    #[error("{0}")]
    Busy(String),
    /// The model failed at this request and lives on.
    #[error("the model {id} failed: {reason}")]
    Failed {
        /// The model.
        id: String,
        /// What it said.
        reason: String,
    },
    /// The runner ended under the request.
    #[error("the model {id} ended while it answered ({reason}); ask again")]
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
        let (status, kind, title) = self.class();
        match self {
            Self::Schedule(error) => problems::scheduling(error),
            Self::Busy(_) => {
                Problem::new(status, kind, title, self.to_string()).retry_after(problems::RETRY_AFTER_S)
            }
            Self::TooLong { prompt, context } => Problem::new(status, kind, title, self.to_string())
                .with("prompt_tokens", *prompt)
                .with("context_tokens", *context),
            _ => Problem::new(status, kind, title, self.to_string()),
        }
    }

    pub(crate) fn class(&self) -> problems::Class {
        match self {
            Self::Schedule(error) => problems::class(error),
            Self::Busy(_) => problems::BUSY,
            Self::Request(_) => (StatusCode::BAD_REQUEST, "invalid_request", "The model refuses the request"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large"),
            Self::TooLong { .. } => (StatusCode::BAD_REQUEST, problems::TOO_LONG, "The prompt is too long"),
            Self::Failed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "model_failed", "The model failed"),
            Self::Died { .. } => (StatusCode::BAD_GATEWAY, "runner_died", "The model ended unexpectedly"),
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<wire::ToolCall>,
    pub(crate) logprobs: Vec<wire::TokenLogprob>,
    pub(crate) account: wire::Finished,
}

impl Answer {
    /// Waits for the end.
    pub(crate) async fn collect(mut pieces: Pieces) -> Result<Self, AskError> {
        let mut answer = Self::default();
        while let Some(piece) = pieces.next().await {
            answer.add(piece?);
        }
        Ok(answer)
    }

    /// Adds what comes next.
    pub(crate) fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Text(more) => {
                self.text.push_str(&more.text);
                self.logprobs.extend(more.logprobs);
            }
            Piece::Reasoning(more) => self.reasoning.push_str(&more),
            Piece::Call(call) => self.calls.push(call),
            Piece::End(account) => self.account = account,
        }
    }
}

pub(crate) type Pieces = Told<Piece>;
/// What is told of answers, as it comes.
pub(crate) type Told<T> = Pin<Box<dyn Stream<Item = Result<T, AskError>> + Send>>;

/// Asks `id` and returns its answer as it comes; the model is loaded when the stream begins.
///
/// The last piece is the end. Dropping the stream stops the model within one decode step.
pub(crate) fn ask(
    inference: Inference,
    lease_request: LeaseRequest,
    request: wire::GenerateRequest,
) -> Pieces {
    ask_and_tell(inference, lease_request, request, None)
}

/// The same, and the tokens of the conversation, about, before the first piece.
pub(crate) fn ask_counted(
    inference: Inference,
    lease_request: LeaseRequest,
    request: wire::GenerateRequest,
) -> (Pieces, oneshot::Receiver<u32>) {
    let (tell, told) = oneshot::channel();
    (ask_and_tell(inference, lease_request, request, Some(tell)), told)
}

fn ask_and_tell(
    inference: Inference,
    lease_request: LeaseRequest,
    request: wire::GenerateRequest,
    count: Option<oneshot::Sender<u32>>,
) -> Pieces {
    Box::pin(try_stream! {
        let id = lease_request.model.clone();
        let lease_request = cost::of_generation(lease_request, &request);
        let mut tally = Tally::begin();
        let (mut lease, mut events) = match begin(&inference, &lease_request, &request, &mut tally).await {
            Ok(begun) => begun,
            Err(error) => Err(tally.failed(error))?,
        };
        if let (Some(tell), Some(Input::Chat(chat))) = (count, &request.input) {
            // A runner that cannot count is found out by what follows.
            let counted = tokio::time::timeout(inference.limits.hang_timeout, count_with(&lease, chat)).await;
            let _ = counted.ok().and_then(Result::ok).map(|tokens| tell.send(tokens));
        }
        loop {
            let event = match tokio::time::timeout(inference.limits.hang_timeout, events.message()).await {
                Ok(Ok(Some(event))) => event.event,
                Ok(Ok(None)) => None,
                Err(_) => Err(tally.failed(hung(&inference, &lease, &id)))?,
                Ok(Err(status)) => Err(tally.failed(judge(&lease, &id, &status).await))?,
            };
            match event {
                Some(Event::Text(text)) => {
                    tally.text();
                    yield Piece::Text(text);
                }
                Some(Event::Reasoning(text)) => {
                    tally.text();
                    yield Piece::Reasoning(text);
                }
                Some(Event::ToolCall(call)) => {
                    tally.text();
                    yield Piece::Call(call);
                }
                // A sign of life.
                Some(Event::ReadTokens(_)) => {}
                Some(Event::Finished(account)) => {
                    inference.scheduler.record_success(&id);
                    inference.latency.record_answer(&id, &account);
                    lease.settle(cost::of_account(&account));
                    tally.finished(&account);
                    yield Piece::End(account);
                    break;
                }
                None => {
                    let status = Status::unavailable("it stopped without finishing");
                    Err(tally.failed(judge(&lease, &id, &status).await))?;
                }
            }
        }
    })
}

/// Waits a while for the first piece, so that an error before it can have a status of its own; later ones
/// come as an error in the stream.
pub(crate) async fn begun<T: Send + 'static>(mut pieces: Told<T>) -> Result<Told<T>, AskError> {
    let first = match tokio::time::timeout(FIRST_WAIT, pieces.next()).await {
        Ok(Some(Err(error))) => return Err(error),
        Ok(first) => first,
        Err(_) => None,
    };
    Ok(Box::pin(futures::stream::iter(first).chain(pieces)))
}

/// Starts the generation. A runner found dead before it said anything is replaced once.
async fn begin(
    inference: &Inference,
    lease_request: &LeaseRequest,
    request: &wire::GenerateRequest,
    tally: &mut Tally,
) -> Result<(Lease, Streaming<wire::GenerateEvent>), AskError> {
    let id = lease_request.model.as_str();
    let mut retried = false;
    loop {
        let lease = match inference.scheduler.lease(lease_request).await {
            Err(error @ ScheduleError::Unknown { .. }) => return Err(error.into()),
            looked_up => {
                tally.name(id);
                looked_up?
            }
        };
        let mut client = runner(&lease);
        let asked =
            tokio::time::timeout(inference.limits.hang_timeout, client.generate(request.clone())).await;
        match asked {
            Ok(Ok(answer)) => return Ok((lease, answer.into_inner())),
            failed => {
                let error = match failed {
                    Ok(Err(status)) => judge(&lease, id, &status).await,
                    _ => hung(inference, &lease, id),
                };
                if retried || !matches!(error, AskError::Died { .. }) {
                    return Err(error);
                }
                retried = true;
            }
        }
    }
}

/// The runner of a lease.
pub(crate) fn runner(lease: &Lease) -> RunnerClient<Channel> {
    RunnerClient::new(lease.channel()).max_decoding_message_size(MOST_MESSAGE_BYTES)
}

/// Stops a runner that has shown no sign of life for too long.
pub(crate) fn hung(inference: &Inference, lease: &Lease, id: &str) -> AskError {
    let reason = format!("it showed no sign of life for {} s", inference.limits.hang_timeout.as_secs());
    metrics::counter!("runner_hangs_total", "model" => id.to_owned()).increment(1);
    lease.mark_unhealthy(&reason);
    AskError::Died { id: id.to_owned(), reason }
}

/// What a failed call means: a wrong request, a full queue, a failure, or a dead runner.
pub(crate) async fn judge(lease: &Lease, id: &str, status: &Status) -> AskError {
    // Only what the connection itself reports has a cause; the runner's own words have none.
    let broken = status.source().is_some() || status.code() == Code::Unavailable;
    if broken {
        let reason = lease.connection_lost(status.message()).await;
        return AskError::Died { id: id.to_owned(), reason };
    }
    refusal(id, status)
}

fn refusal(id: &str, status: &Status) -> AskError {
    let message = status.message().to_owned();
    match status.code() {
        Code::InvalidArgument => too_long(status).unwrap_or(AskError::Request(message)),
        // Said of the length of a message alone, and not by the runner.
        Code::OutOfRange => AskError::TooLarge,
        Code::Unimplemented => AskError::Request(message),
        Code::ResourceExhausted => AskError::Busy(message),
        _ => AskError::Failed { id: id.to_owned(), reason: message },
    }
}

/// The refusal of a prompt that leaves no room for an answer tells both lengths.
fn too_long(status: &Status) -> Option<AskError> {
    let tokens = |name| status.metadata().get(name)?.to_str().ok()?.parse().ok();
    Some(AskError::TooLong { prompt: tokens(PROMPT_TOKENS)?, context: tokens(CONTEXT_TOKENS)? })
}

/// A conversation of one question.
pub(crate) fn question(prompt: &str) -> wire::generate_request::Input {
    let message =
        wire::ChatMessage { role: "user".into(), content: prompt.to_owned(), ..wire::ChatMessage::default() };
    wire::generate_request::Input::Chat(wire::Chat { messages: vec![message], ..wire::Chat::default() })
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataMap;

    use super::*;

    #[test]
    fn what_a_runner_refuses_is_told_by_whose_mistake_it_is() {
        let length =
            "Error, decoded message length too large: found 17000000 bytes, the limit is: 16777216 bytes";
        let mut lengths = MetadataMap::new();
        lengths.insert(PROMPT_TOKENS, 9000_u32.into());
        lengths.insert(CONTEXT_TOKENS, 4096_u32.into());
        let long = Status::with_metadata(Code::InvalidArgument, "the prompt is too long", lengths);
        let seen = refusal("m", &long);
        assert!(matches!(seen, AskError::TooLong { prompt: 9000, context: 4096 }), "{seen}");
        let cases = [
            (Status::out_of_range(length), 413),
            (long, 400),
            (Status::unimplemented("no vectors"), 400),
            (Status::resource_exhausted("8 requests wait"), 503),
            (Status::internal("it failed"), 500),
        ];
        for (status, expected) in cases {
            let problem = refusal("m", &status).problem();
            assert_eq!(problem.status().as_u16(), expected, "{status:?}: {}", problem.detail());
        }
    }
}
