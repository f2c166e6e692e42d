//! The gRPC service of `proto/runner.proto` over the engine.

use std::pin::Pin;

use actionbooster_llm::{Engine, Error, Event, Finished, Input, Message, Reason, Request, Sampling};
use actionbooster_wire::runner::v1 as wire;
use futures::{Stream, StreamExt};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Answers for one engine.
pub(crate) struct Service {
    id: String,
    engine: Engine,
    defaults: Sampling,
}

impl Service {
    pub(crate) fn new(id: String, engine: Engine, defaults: Sampling) -> Self {
        Self { id, engine, defaults }
    }

    fn sampling(&self, wish: Option<wire::Sampling>) -> Sampling {
        let wish = wish.unwrap_or_default();
        let own = self.defaults;
        Sampling {
            temperature: wish.temperature.unwrap_or(own.temperature),
            top_p: wish.top_p.unwrap_or(own.top_p),
            top_k: wish.top_k.unwrap_or(own.top_k),
            min_p: wish.min_p.unwrap_or(own.min_p),
            repeat_penalty: wish.repeat_penalty.unwrap_or(own.repeat_penalty),
            frequency_penalty: wish.frequency_penalty.unwrap_or(own.frequency_penalty),
            presence_penalty: wish.presence_penalty.unwrap_or(own.presence_penalty),
            seed: wish.seed.or(own.seed),
        }
    }
}

#[tonic::async_trait]
impl wire::runner_server::Runner for Service {
    type GenerateStream = Pin<Box<dyn Stream<Item = Result<wire::GenerateEvent, Status>> + Send>>;

    async fn describe(
        &self,
        _request: tonic::Request<wire::DescribeRequest>,
    ) -> Result<tonic::Response<wire::ModelDescription>, Status> {
        let description = self.engine.description();
        Ok(tonic::Response::new(wire::ModelDescription {
            model_id: self.id.clone(),
            architecture: description.architecture.clone(),
            parameters: description.parameters,
            context_tokens: description.context_tokens,
            slots: description.slots,
            has_chat_template: description.has_chat_template,
            resident_bytes: resident_bytes(),
        }))
    }

    async fn generate(
        &self,
        request: tonic::Request<wire::GenerateRequest>,
    ) -> Result<tonic::Response<Self::GenerateStream>, Status> {
        let request = request.into_inner();
        let input = match request.input {
            Some(wire::generate_request::Input::Prompt(prompt)) => Input::Prompt(prompt),
            Some(wire::generate_request::Input::Chat(chat)) => Input::Chat(
                chat.messages
                    .into_iter()
                    .map(|message| Message { role: message.role, content: message.content })
                    .collect(),
            ),
            None => return Err(Status::invalid_argument("the request has neither a chat nor a prompt")),
        };
        let events = self
            .engine
            .ask(Request {
                input,
                sampling: self.sampling(request.sampling),
                max_tokens: request.max_tokens,
                stop: request.stop,
            })
            .map_err(|error| status(&error))?;
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(events).map(wire_event))))
    }
}

fn wire_event(event: Event) -> Result<wire::GenerateEvent, Status> {
    use wire::generate_event::Event as Wire;
    let event = match event {
        Event::Text(text) => Wire::Text(wire::Text { text }),
        Event::Finished(finished) => Wire::Finished(account(&finished)),
        Event::Failed(error) => return Err(status(&error)),
    };
    Ok(wire::GenerateEvent { event: Some(event) })
}

fn account(finished: &Finished) -> wire::Finished {
    let reason = match finished.reason {
        Reason::End => wire::finished::Reason::End,
        Reason::Stop => wire::finished::Reason::Stop,
        Reason::Length => wire::finished::Reason::Length,
    };
    wire::Finished {
        reason: reason.into(),
        prompt_tokens: finished.prompt_tokens,
        generated_tokens: finished.generated_tokens,
        prompt_us: finished.prompt_us,
        generate_us: finished.generate_us,
    }
}

fn status(error: &Error) -> Status {
    let message = error.to_string();
    match error {
        Error::PromptTooLong { .. } | Error::PromptEmpty | Error::Template(_) => {
            Status::invalid_argument(message)
        }
        Error::Busy(_) => Status::resource_exhausted(message),
        Error::Stopped => Status::unavailable(message),
        _ => Status::internal(message),
    }
}

/// `VmRSS` of this process; 0 where procfs does not tell.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
