//! The gRPC service of `proto/runner.proto` over the engine.

use std::pin::Pin;
use std::sync::Arc;

use actionbooster_llm::{Engine, Error, Format, Grammar, Input, Request, Sampling};
use actionbooster_wire::runner::{CONTEXT_TOKENS, PROMPT_TOKENS, v1 as wire};
use futures::{Stream, StreamExt};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};

use crate::translate;

/// Answers for one engine.
pub(crate) struct Service {
    id: String,
    engine: Arc<Engine>,
    defaults: Sampling,
    /// System text for conversations that have none.
    system: Option<String>,
}

impl Service {
    pub(crate) fn new(id: String, engine: Engine, defaults: Sampling, system: Option<String>) -> Self {
        Self { id, engine: Arc::new(engine), defaults, system }
    }

    /// The wanted shape, compiled where waiting is allowed.
    async fn grammar(&self, format: Option<Format>) -> Result<Option<Grammar>, Status> {
        let Some(format) = format else { return Ok(None) };
        let engine = Arc::clone(&self.engine);
        let compiled = tokio::task::spawn_blocking(move || engine.grammar(&format)).await;
        let compiled = compiled.map_err(|error| Status::internal(error.to_string()))?;
        compiled.map(Some).map_err(|error| status(&error))
    }
}

#[tonic::async_trait]
impl wire::runner_server::Runner for Service {
    type GenerateStream = Pin<Box<dyn Stream<Item = Result<wire::GenerateEvent, Status>> + Send>>;

    async fn describe(
        &self,
        _request: tonic::Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::ModelDescription>, Status> {
        let description = self.engine.description();
        Ok(Response::new(wire::ModelDescription {
            model_id: self.id.clone(),
            architecture: description.architecture.clone(),
            parameters: description.parameters,
            context_tokens: description.context_tokens,
            slots: description.slots,
            has_chat_template: description.has_chat_template,
            resident_bytes: resident_bytes(),
            embedding_length: description.embedding_length,
            vocabulary: description.vocabulary,
            kv_type: description.kv_type.name().to_owned(),
            flash_attention: description.flash_attention.name().to_owned(),
        }))
    }

    async fn generate(
        &self,
        request: tonic::Request<wire::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let request = request.into_inner();
        let context_full = translate::context_full(request.context_full());
        let mut input = translate::input(request.input).map_err(|error| status(&error))?;
        if let (Input::Chat(conversation), Some(system)) = (&mut input, &self.system) {
            conversation.begin_with(system);
        }
        let forced = match &input {
            Input::Chat(conversation) => conversation.forced_format().map_err(|error| status(&error))?,
            Input::Prompt(_) => None,
        };
        let format = forced.or_else(|| translate::format(request.format));
        let request = Request {
            input,
            sampling: translate::sampling(request.sampling.unwrap_or_default(), &self.defaults),
            max_tokens: request.max_tokens,
            max_reasoning_tokens: request.max_reasoning_tokens,
            stop: request.stop,
            logprobs: request.logprobs,
            context_full,
            grammar: self.grammar(format).await?,
        };
        let events = self.engine.ask(request).map_err(|error| status(&error))?;
        let events = ReceiverStream::new(events);
        Ok(Response::new(Box::pin(
            events.map(|event| translate::event(event).map_err(|error| status(&error))),
        )))
    }

    async fn embed(
        &self,
        request: tonic::Request<wire::EmbedRequest>,
    ) -> Result<Response<wire::EmbedReply>, Status> {
        let request = request.into_inner();
        let normalize = request.normalize.unwrap_or(true);
        let embeddings = self
            .engine
            .embed(request.inputs, normalize, request.truncate)
            .await
            .map_err(|error| status(&error))?;
        let vectors = embeddings.vectors.into_iter().map(|values| wire::Embedding { values }).collect();
        Ok(Response::new(wire::EmbedReply { embeddings: vectors, prompt_tokens: embeddings.tokens }))
    }

    async fn tokenize(
        &self,
        request: tonic::Request<wire::TokenizeRequest>,
    ) -> Result<Response<wire::TokenizeReply>, Status> {
        let request = request.into_inner();
        let tokens = self.engine.tokenize(request.text, request.special).await;
        Ok(Response::new(wire::TokenizeReply { tokens: tokens.map_err(|error| status(&error))? }))
    }
}

fn status(error: &Error) -> Status {
    let message = error.to_string();
    match error {
        Error::PromptTooLong { prompt, context } => {
            let mut metadata = MetadataMap::new();
            metadata.insert(PROMPT_TOKENS, (*prompt as u64).into());
            metadata.insert(CONTEXT_TOKENS, (*context).into());
            Status::with_metadata(Code::InvalidArgument, message, metadata)
        }
        Error::PromptEmpty
        | Error::Template(_)
        | Error::InputTooLong { .. }
        | Error::LogitBias { .. }
        | Error::Format(_) => Status::invalid_argument(message),
        Error::NoText | Error::NoEmbeddings => Status::unimplemented(message),
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
