//! The llama.cpp engine: one model, one context, many requests decoded together.
//!
//! An [`Engine`] owns a thread that owns the context. Requests go in through a bounded queue; every
//! request has its own bounded stream of [`Event`]s. Dropping the stream ends the work within one
//! decode step. See [`stepper`] for how requests share a batch.

mod backend;
mod chat;
mod embed;
mod engine;
mod gbnf;
mod grammar;
mod logprobs;
mod memory;
mod options;
mod prompt;
mod reply;
mod request;
mod sampling;
mod slot;
mod stepper;
mod template;
mod text;
mod thread;

pub use chat::{Conversation, Message, ToolCall, ToolChoice};
pub use engine::Engine;
pub use grammar::{Format, Grammar};
pub use options::{Description, FlashAttention, KvType, Options};
pub use request::{
    Candidate, ContextFull, Embeddings, Event, Finished, Input, MOST_ALTERNATIVES, Reason, Request, Text,
    TokenLogprob,
};
pub use sampling::Sampling;

/// Why the engine cannot do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No CPU backend was found.
    #[error(
        "no CPU backend of llama.cpp was found in {0}; set ACTIONBOOSTER_BACKENDS to the folder that holds libggml-cpu-*.so"
    )]
    NoBackend(String),
    /// llama.cpp refused the file.
    #[error("llama.cpp cannot load {0}; the file may be damaged or of a kind this version does not know")]
    Load(String),
    /// There is not enough memory for the context, or the shape is impossible.
    #[error("llama.cpp cannot make a context of {context} tokens for {slots} requests: {reason}")]
    Context {
        /// Tokens per request.
        context: u32,
        /// Requests decoded together.
        slots: u32,
        /// What llama.cpp said.
        reason: String,
    },
    /// The wanted processors cannot be used.
    #[error("cannot run on the processors {0}; name processors that are online")]
    Affinity(String),
    /// The chat template cannot render these messages.
    #[error("the model's chat template refuses these messages: {0}")]
    Template(String),
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {prompt} tokens and the context holds {context}, of which at least one is for the answer; shorten it"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the context.
        context: u32,
    },
    /// Nothing was asked.
    #[error("the prompt is empty; ask something")]
    PromptEmpty,
    /// A text for an embedding is longer than the context.
    #[error(
        "input {number} has {tokens} tokens and the context holds {context}; shorten it or cut it into parts"
    )]
    InputTooLong {
        /// Which input, counted from 1.
        number: usize,
        /// Its tokens.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// The model only makes embeddings.
    #[error("this model makes embeddings and writes no text; choose another for an answer")]
    NoText,
    /// The model compares texts.
    #[error("this model ranks texts and makes no embeddings; choose another")]
    NoEmbeddings,
    /// A bias for a token that does not exist, or one that is no number.
    #[error("the bias of token {token} cannot be used; tokens are numbers from 0 to below {vocabulary}")]
    LogitBias {
        /// The token.
        token: i32,
        /// Tokens of the model.
        vocabulary: i32,
    },
    /// The wanted shape of the answer cannot be used.
    #[error("the shape asked for the answer cannot be used: {0}")]
    Format(String),
    /// Too many requests wait.
    #[error("{0} requests already wait for this model; try again in a moment")]
    Busy(usize),
    /// A decode step failed.
    #[error("llama.cpp failed to decode: {0}")]
    Decode(String),
    /// The engine's thread is gone.
    #[error("the engine has stopped")]
    Stopped,
}
