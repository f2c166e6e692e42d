//! `POST /v1/completions`: prompts continued as they are, without a chat template.

use std::convert::Infallible;

use actionbooster_chassis::{Json, Problem, unix_now};
use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::generate_request::Input;
use async_stream::stream;
use axum::extract::State;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::reply::{error, finite, timings_of, usage_of};
use super::request::StreamOptions;
use super::sampling::SamplingFields;
use crate::api::backpressure::with_backpressure;
use crate::api::choices::{self, Numbered, Total, side_by_side};
use crate::api::lenient::Integer;
use crate::api::stream::server_sent;
use crate::api::validation::{count, invalid};
use crate::ask::{Piece, ask, begun};
use crate::inference::Inference;
use crate::query::MOST_PROMPT_BYTES;
use crate::request_context::RequestContext;

/// Tokens when the request does not say; OpenAI's own default.
const DEFAULT_TOKENS: u32 = 16;
const MOST_PROMPTS: usize = 64;

/// Body of the request.
#[derive(Deserialize)]
pub(crate) struct CompletionRequest {
    model: String,
    prompt: Prompts,
    #[serde(flatten)]
    sampling: SamplingFields,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// Alternatives told with every token.
    logprobs: Option<Integer>,
    echo: Option<bool>,
    n: Option<Integer>,
    best_of: Option<Integer>,
    suffix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Prompts {
    One(String),
    Several(Vec<String>),
    Other(IgnoredAny),
}

/// Continues one or more prompts.
pub(crate) async fn completions(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(request): Json<CompletionRequest>,
) -> Result<Response, Problem> {
    let prompts = request.prompts()?;
    let generations =
        prompts.iter().map(|prompt| request.generation(prompt)).collect::<Result<Vec<_>, Problem>>()?;
    let head = Head {
        id: format!("cmpl-{:016x}", rand::random::<u64>()),
        created: unix_now(),
        model: request.model.clone(),
        prompts,
        each: request.each()?,
        echo: request.echo == Some(true),
    };
    let id = inference.id_of(&request.model).await;
    let lease_request = context.lease_request(&id, inference.limits.load_timeout);
    let each = head.each;
    let answers = generations
        .into_iter()
        .flat_map(move |generation| (0..each).map(move |number| choices::choice(generation.clone(), number)))
        .map(move |generation| ask(inference.clone(), lease_request.clone(), generation));
    let pieces = side_by_side(answers);
    if request.stream != Some(true) {
        return whole(&head, pieces, request.logprobs.is_some()).await;
    }
    let usage = request.stream_options.is_some_and(|options| options.include_usage == Some(true));
    let pieces = begun(pieces).await.map_err(|error| error.problem())?;
    Ok(chunks(head, pieces, usage).into_response())
}

impl CompletionRequest {
    fn prompts(&self) -> Result<Vec<String>, Problem> {
        let prompts = match &self.prompt {
            Prompts::One(prompt) => vec![prompt.clone()],
            Prompts::Several(prompts) => prompts.clone(),
            Prompts::Other(_) => {
                return Err(invalid(
                    "prompt",
                    "`prompt` must be a text or a list of texts; numbers of tokens differ from model to model.",
                ));
            }
        };
        if prompts.is_empty() || prompts.iter().any(String::is_empty) {
            return Err(invalid("prompt", "`prompt` is empty; send some text."));
        }
        if prompts.len() > MOST_PROMPTS {
            return Err(invalid("prompt", format!("`prompt` may hold at most {MOST_PROMPTS} texts.")));
        }
        let bytes: usize = prompts.iter().map(String::len).sum();
        if bytes > MOST_PROMPT_BYTES {
            return Err(invalid(
                "prompt",
                format!("`prompt` has {bytes} bytes; at most {MOST_PROMPT_BYTES} are read."),
            ));
        }
        Ok(prompts)
    }

    /// Answers to each prompt.
    fn each(&self) -> Result<usize, Problem> {
        let each = choices::wanted(self.n)?;
        if each * self.prompts()?.len() > MOST_PROMPTS {
            return Err(invalid("n", format!("At most {MOST_PROMPTS} answers are given to one request.")));
        }
        Ok(each)
    }

    fn generation(&self, prompt: &str) -> Result<wire::GenerateRequest, Problem> {
        let unsupported = [
            // Answers that are made and thrown away.
            ("best_of", self.best_of.is_some_and(|best_of| best_of != self.n.unwrap_or(Integer(1)))),
            ("suffix", self.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty())),
        ];
        if let Some((name, _)) = unsupported.into_iter().find(|(_, asked)| *asked) {
            return Err(invalid(name, format!("`{name}` cannot be done here; leave it out.")));
        }
        let mut generation = self.sampling.generation(Input::Prompt(prompt.to_owned()))?;
        generation.max_tokens = self.sampling.max_tokens()?.unwrap_or(DEFAULT_TOKENS);
        generation.logprobs = count("logprobs", self.logprobs, 0, 5)?;
        Ok(generation)
    }
}

/// What all parts of one completion share.
struct Head {
    id: String,
    created: i64,
    model: String,
    prompts: Vec<String>,
    /// Answers to each of them.
    each: usize,
    echo: bool,
}

impl Head {
    fn body(&self, choices: &[Value]) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

async fn whole(head: &Head, pieces: Numbered, logprobs: bool) -> Result<Response, Problem> {
    let answers = choices::collect(pieces, head.prompts.len() * head.each).await;
    let answers = answers.map_err(|error| error.problem())?;
    let mut total = Total::of_prompts(head.each);
    let mut choices = Vec::with_capacity(answers.len());
    for (index, answer) in answers.iter().enumerate() {
        total.add(index, &answer.account);
        let begin = if head.echo { head.prompts[index / head.each].as_str() } else { "" };
        let text = format!("{begin}{}", answer.text);
        let told =
            if logprobs { legacy_logprobs(&answer.logprobs, begin.chars().count()) } else { Value::Null };
        choices.push(choice(index, &text, &told, Some(finish_reason(&answer.account))));
    }
    let mut body = head.body(&choices);
    body["usage"] = usage_of(&total.account);
    body["timings"] = timings_of(&total.account);
    Ok(Json(body).into_response())
}

fn chunks(head: Head, pieces: Numbered, include_usage: bool) -> impl IntoResponse {
    let mut pieces = Box::pin(with_backpressure(pieces));
    let events = stream! {
        let mut total = Total::of_prompts(head.each);
        if head.echo {
            for index in 0..head.prompts.len() * head.each {
                let body = head.body(&[choice(index, &head.prompts[index / head.each], &Value::Null, None)]);
                yield Ok::<_, Infallible>(Event::default().data(body.to_string()));
            }
        }
        while let Some(piece) = pieces.next().await {
            let failure = match piece {
                Ok(Ok((index, Piece::Text(more)))) => {
                    let told = if more.logprobs.is_empty() { Value::Null } else { legacy_logprobs(&more.logprobs, 0) };
                    let body = head.body(&[choice(index, &more.text, &told, None)]);
                    yield Ok(Event::default().data(body.to_string()));
                    continue;
                }
                // A prompt that is read as it is has neither.
                Ok(Ok((_, Piece::Reasoning(_) | Piece::Call(_)))) => continue,
                Ok(Ok((index, Piece::End(account)))) => {
                    total.add(index, &account);
                    let body = head.body(&[choice(index, "", &Value::Null, Some(finish_reason(&account)))]);
                    yield Ok(Event::default().data(body.to_string()));
                    continue;
                }
                Ok(Err(error)) => error.problem(),
                Err(stalled) => stalled.problem(),
            };
            yield Ok(Event::default().data(json!({"error": error(&failure)}).to_string()));
            return;
        }
        if include_usage {
            let mut body = head.body(&[]);
            body["usage"] = usage_of(&total.account);
            yield Ok(Event::default().data(body.to_string()));
        }
        yield Ok(Event::default().data("[DONE]"));
    };
    server_sent(events)
}

fn choice(index: usize, text: &str, logprobs: &Value, finish: Option<&str>) -> Value {
    json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish})
}

fn finish_reason(account: &wire::Finished) -> &'static str {
    if account.reason() == wire::finished::Reason::Length { "length" } else { "stop" }
}

/// The older form: lists side by side, and offsets in characters from the beginning of the text.
fn legacy_logprobs(logprobs: &[wire::TokenLogprob], begin: usize) -> Value {
    let mut offset = begin;
    let mut offsets = Vec::with_capacity(logprobs.len());
    for token in logprobs {
        offsets.push(offset);
        offset += token.text.chars().count();
    }
    let top = |token: &wire::TokenLogprob| {
        let pairs = token.alternatives.iter().map(|other| (other.text.clone(), json!(finite(other.logprob))));
        Value::Object(pairs.collect())
    };
    json!({
        "tokens": logprobs.iter().map(|token| token.text.as_str()).collect::<Vec<_>>(),
        "token_logprobs": logprobs.iter().map(|token| finite(token.logprob)).collect::<Vec<_>>(),
        "top_logprobs": logprobs.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

/// Whether these bytes are such a request. For the fuzz target.
pub(super) fn accepts(bytes: &[u8]) -> usize {
    let request = serde_json::from_slice::<CompletionRequest>(bytes);
    let fine = |request: CompletionRequest| {
        let each = request.each().is_ok();
        each && request
            .prompts()
            .is_ok_and(|prompts| prompts.iter().all(|prompt| request.generation(prompt).is_ok()))
    };
    usize::from(request.is_ok_and(fine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_checked_before_a_model_is_touched() {
        for (text, expected) in [
            ("{\"model\":\"m\",\"prompt\":\"x\"}", None),
            ("{\"model\":\"m\",\"prompt\":[\"x\",\"y\"],\"logprobs\":5,\"echo\":true}", None),
            ("{\"model\":\"m\",\"prompt\":[]}", Some("prompt")),
            ("{\"model\":\"m\",\"prompt\":\"\"}", Some("prompt")),
            ("{\"model\":\"m\",\"prompt\":\"x\",\"n\":3,\"best_of\":3}", None),
            ("{\"model\":\"m\",\"prompt\":\"x\",\"n\":1,\"best_of\":3}", Some("best_of")),
            ("{\"model\":\"m\",\"prompt\":\"x\",\"n\":17}", Some("n")),
            ("{\"model\":\"m\",\"prompt\":[\"1\",\"2\",\"3\",\"4\",\"5\"],\"n\":13}", Some("n")),
            ("{\"model\":\"m\",\"prompt\":\"x\",\"suffix\":\"y\"}", Some("suffix")),
            ("{\"model\":\"m\",\"prompt\":\"x\",\"logprobs\":6}", Some("logprobs")),
            ("{\"model\":\"m\",\"prompt\":\"x\",\"temperature\":9}", Some("temperature")),
        ] {
            let request: CompletionRequest = serde_json::from_str(text).expect("parses");
            let read = request.prompts().and_then(|prompts| request.generation(&prompts[0]));
            let refused = read.and_then(|_| request.each()).err();
            assert_eq!(
                refused.map(|problem| problem.to_json()["param"].clone()),
                expected.map(Value::from),
                "{text}"
            );
        }
        let request: CompletionRequest =
            serde_json::from_str("{\"model\":\"m\",\"prompt\":\"x\"}").expect("parses");
        assert_eq!(request.generation("x").expect("accepted").max_tokens, DEFAULT_TOKENS);
    }

    #[test]
    fn tokens_are_listed_side_by_side() {
        let token = |text: &str| wire::TokenLogprob {
            text: text.into(),
            logprob: -1.0,
            ..wire::TokenLogprob::default()
        };
        let told = legacy_logprobs(&[token("año"), token("x")], 2);
        assert_eq!(told["tokens"], json!(["año", "x"]));
        assert_eq!(told["text_offset"], json!([2, 5]));
    }
}
