//! What goes back: responses whole, and as the events that tell how they come.

use std::convert::Infallible;
use std::sync::Arc;

use actionbooster_chassis::{Json, Problem, unix_now};
use actionbooster_wire::runner::v1 as wire;
use async_stream::stream;
use axum::http::StatusCode;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Value, json};

use super::items::Turns;
use super::output::{Output, id};
use super::store::StoredResponses;
use crate::api::backpressure::with_backpressure;
use crate::api::stream::server_sent;
use crate::ask::{Piece, Pieces};
use crate::problems::TOO_LONG;

/// One response while it comes.
pub(super) struct Reply {
    /// Everything of it that is known beforehand.
    head: Value,
    output: Output,
    keeping: Option<Keeping>,
}

/// Where a response is kept, and what led to it.
pub(super) struct Keeping {
    pub(super) store: Arc<StoredResponses>,
    pub(super) owner: String,
    pub(super) turns: Vec<wire::ChatMessage>,
}

impl Reply {
    pub(super) fn new(told: Value, output: Output, keeping: Option<Keeping>) -> Self {
        let mut head = told;
        head["id"] = id("resp").into();
        head["object"] = "response".into();
        head["created_at"] = unix_now().into();
        for absent in ["error", "incomplete_details", "usage", "completed_at"] {
            head[absent] = Value::Null;
        }
        Self { head, output, keeping }
    }

    fn with(&self, status: &str) -> Value {
        let mut response = self.head.clone();
        response["status"] = status.into();
        response["output"] = self.output.items().into();
        response
    }

    /// What a piece of the answer is told by; the end has the response itself.
    fn piece(&mut self, piece: &Piece) -> Vec<Value> {
        match piece {
            Piece::Text(more) => self.output.text(more),
            Piece::Reasoning(more) => self.output.thought(more),
            Piece::Call(call) => self.output.call(call),
            Piece::End(account) => self.end(account),
        }
    }

    fn end(&mut self, account: &wire::Finished) -> Vec<Value> {
        let cut = account.reason() == wire::finished::Reason::Length;
        let status = if cut { "incomplete" } else { "completed" };
        let mut events = self.output.close(status);
        let mut response = self.with(status);
        response["usage"] = usage(account);
        if cut {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        } else {
            response["completed_at"] = unix_now().into();
        }
        if let Some(keeping) = self.keeping.take() {
            keeping.keep(&response, self.output.items());
        }
        events.push(json!({"type": format!("response.{status}"), "response": response}));
        events
    }

    fn failed(&mut self, problem: &Problem) -> Vec<Value> {
        let code = match problem.status() {
            _ if problem.kind() == TOO_LONG => TOO_LONG,
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_exceeded",
            StatusCode::BAD_REQUEST => "invalid_prompt",
            _ => "server_error",
        };
        let mut events = self.output.close("incomplete");
        let mut response = self.with("failed");
        response["error"] = json!({"code": code, "message": problem.detail()});
        events.push(json!({"type": "response.failed", "response": response}));
        events
    }
}

impl Keeping {
    fn keep(self, response: &Value, output: &[Value]) {
        let mut turns = Turns::after(self.turns);
        // Only items of our own are added, which are all read.
        if output.iter().try_for_each(|item| turns.add(item, &|_| None)).is_ok() {
            self.store.keep(&self.owner, response, turns.done());
        }
    }
}

/// The response in one piece.
pub(super) async fn whole(mut reply: Reply, mut pieces: Pieces) -> Result<Response, Problem> {
    let mut last = None;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| error.problem())?;
        last = reply.piece(&piece).pop();
    }
    let ended = last.as_mut().map(|event| event["response"].take());
    let ended = ended.ok_or_else(|| Problem::internal("an answer had no end"))?;
    Ok(Json(ended).into_response())
}

/// The response as server-sent events.
pub(super) fn events(mut reply: Reply, pieces: Pieces) -> impl IntoResponse {
    let mut pieces = Box::pin(with_backpressure(pieces));
    let events = stream! {
        let mut number = 0;
        let mut numbered = move |mut data: Value| {
            data["sequence_number"] = number.into();
            number += 1;
            let name = data["type"].as_str().unwrap_or_default().to_owned();
            Ok::<_, Infallible>(Event::default().event(name).data(data.to_string()))
        };
        let begun = reply.with("in_progress");
        yield numbered(json!({"type": "response.created", "response": begun}));
        yield numbered(json!({"type": "response.in_progress", "response": begun}));
        while let Some(piece) = pieces.next().await {
            let (told, last) = match piece {
                Ok(Ok(piece)) => (reply.piece(&piece), false),
                // The status is sent already; clients read an event.
                Ok(Err(error)) => (reply.failed(&error.problem()), true),
                Err(stalled) => (reply.failed(&stalled.problem()), true),
            };
            for event in told {
                yield numbered(event);
            }
            if last {
                return;
            }
        }
    };
    server_sent(events)
}

fn usage(account: &wire::Finished) -> Value {
    json!({
        "input_tokens": account.prompt_tokens,
        "input_tokens_details": {"cached_tokens": account.cached_prompt_tokens, "cache_write_tokens": 0},
        "output_tokens": account.generated_tokens,
        "output_tokens_details": {"reasoning_tokens": account.reasoning_tokens},
        "total_tokens": account.prompt_tokens + account.generated_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openai::responses::tools::Tools;
    use crate::ask::AskError;

    fn reply(store: &Arc<StoredResponses>) -> Reply {
        let turns = vec![crate::api::validation::turn("user", "hi")];
        let keeping = Keeping { store: Arc::clone(store), owner: "ana".into(), turns };
        Reply::new(json!({"model": "m"}), Output::new(Tools::default(), usize::MAX), Some(keeping))
    }

    fn said(text: &str) -> Piece {
        Piece::Text(wire::Text { text: text.into(), logprobs: Vec::new() })
    }

    fn ended(reason: wire::finished::Reason) -> Piece {
        let account = wire::Finished {
            reason: reason.into(),
            prompt_tokens: 3,
            cached_prompt_tokens: 1,
            generated_tokens: 2,
            ..wire::Finished::default()
        };
        Piece::End(account)
    }

    fn pieces(pieces: Vec<Result<Piece, AskError>>) -> Pieces {
        Box::pin(futures::stream::iter(pieces))
    }

    async fn told(response: Response) -> Vec<Value> {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("body");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[tokio::test]
    async fn events_are_numbered_and_the_last_has_the_response_that_is_kept() {
        use wire::finished::Reason;
        let store = Arc::default();
        for (reason, status) in
            [(Reason::End, "completed"), (Reason::Stop, "completed"), (Reason::Length, "incomplete")]
        {
            let events =
                events(reply(&store), pieces(vec![Ok(said("He")), Ok(said("y")), Ok(ended(reason))]));
            let events = told(events.into_response()).await;
            let numbers: Vec<u64> =
                events.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
            assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
            let last = events.last().expect("an event");
            assert_eq!(last["type"], format!("response.{status}"));
            let response = &last["response"];
            assert_eq!(
                (&response["status"], &response["output"][0]["status"]),
                (&json!(status), &json!(status))
            );
            assert_eq!(response["output"][0]["content"][0]["text"], "Hey");
            assert_eq!(
                (
                    &response["usage"]["total_tokens"],
                    &response["usage"]["input_tokens_details"]["cached_tokens"]
                ),
                (&json!(5), &json!(1))
            );
            assert_eq!(response["incomplete_details"].is_null(), reason != Reason::Length);
            let id = response["id"].as_str().expect("an id");
            let kept: Value = serde_json::from_str(&store.body("ana", id).expect("kept")).expect("JSON");
            assert_eq!(&kept, response);
            let turns = store.turns("ana", id).expect("kept");
            let turns: Vec<&str> = turns.iter().map(|turn| turn.content.as_str()).collect();
            assert_eq!(turns, ["hi", "Hey"]);
        }
    }

    #[tokio::test]
    async fn a_failure_in_a_stream_is_a_response_that_failed_and_is_not_kept() {
        let store = Arc::default();
        let died = || AskError::Died { id: "m".into(), reason: "signal: 9".into() };
        let too_long = AskError::TooLong { prompt: 9, context: 8 };
        let refused = AskError::Request("no such shape".into());
        let cases =
            [(died(), "server_error"), (refused, "invalid_prompt"), (too_long, "context_length_exceeded")];
        for (failure, code) in cases {
            let events = events(reply(&store), pieces(vec![Ok(said("He")), Err(failure)]));
            let events = told(events.into_response()).await;
            let last = events.last().expect("an event");
            assert_eq!(
                (&last["type"], &last["response"]["error"]["code"]),
                (&json!("response.failed"), &json!(code))
            );
            assert_eq!(last["response"]["output"][0]["status"], "incomplete");
            assert!(store.body("ana", last["response"]["id"].as_str().expect("id")).is_none());
        }
        assert_eq!(whole(reply(&store), pieces(vec![Err(died())])).await.expect_err("failed").status(), 502);
    }
}
