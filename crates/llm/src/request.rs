//! What goes into the engine and what comes out.

use tokio::sync::{mpsc, oneshot};

use crate::chat::{Conversation, ToolCall};
use crate::{Error, Grammar, Sampling};

/// A question to the model.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the model reads.
    pub input: Input,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Tokens to generate at most; 0 means until the context is full.
    pub max_tokens: u32,
    /// Tokens that the model may think before it answers, where its thoughts are told apart; then they are closed
    /// and it goes on with the answer. No limit of its own when absent.
    pub max_reasoning_tokens: Option<u32>,
    /// The answer ends before any of these.
    pub stop: Vec<String>,
    /// Every token's probability is told, with this many alternatives, at most [`MOST_ALTERNATIVES`].
    pub logprobs: Option<u32>,
    /// What happens when the context is full.
    pub context_full: ContextFull,
    /// The shape of the answer; any text when absent. See [`crate::Engine::grammar`].
    pub grammar: Option<Grammar>,
}

/// Alternatives told with a token at most.
pub const MOST_ALTERNATIVES: u32 = 20;

impl Request {
    /// A question with nothing special about it: greedy, until the model ends its answer.
    pub fn new(input: Input) -> Self {
        Self {
            input,
            sampling: Sampling::default(),
            max_tokens: 0,
            max_reasoning_tokens: None,
            stop: Vec::new(),
            logprobs: None,
            context_full: ContextFull::End,
            grammar: None,
        }
    }
}

/// What the model reads.
#[derive(Debug, Clone)]
pub enum Input {
    /// Rendered with the model's chat template.
    Chat(Conversation),
    /// Used as it is.
    Prompt(String),
}

/// What happens when the context is full before the answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContextFull {
    /// The answer ends with [`Reason::Length`].
    #[default]
    End,
    /// The older half of what follows the first tokens is forgotten. Models whose memory cannot move end.
    Shift,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Tokens of the prompt that are read so far, while a long one is read.
    Read(u32),
    /// More of the answer.
    Text(Text),
    /// More of what the model thinks before it answers.
    Reasoning(String),
    /// A function the model calls.
    Call(ToolCall),
    /// The end of the answer.
    Finished(Finished),
    /// The end without an answer, or in the middle of one.
    Failed(Error),
}

/// A piece of the answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Text {
    /// Whole characters.
    pub text: String,
    /// The tokens that begin in this text, when asked for.
    pub logprobs: Vec<TokenLogprob>,
}

/// A token of the answer with its probability.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The chosen token.
    pub chosen: Candidate,
    /// The most likely tokens at its place, best first.
    pub alternatives: Vec<Candidate>,
}

/// A token that could stand at a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its bytes, which may be half a character.
    pub bytes: Vec<u8>,
    /// Natural logarithm of the probability the model gives it, before any sampling parameter.
    pub logprob: f32,
}

/// The account of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Why it ended.
    pub reason: Reason,
    /// The stop string that ended it.
    pub stop: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the prompt that were in memory already, from an earlier request or another one's prompt.
    pub reused_tokens: u32,
    /// Tokens of the answer, thoughts included.
    pub generated_tokens: u32,
    /// Tokens of it that were thoughts.
    pub reasoning_tokens: u32,
    /// Time from the first to the last token of the prompt, in microseconds.
    pub prompt_us: u64,
    /// Time spent on the answer, in microseconds.
    pub generate_us: u64,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The model ended it, or the wanted shape is complete.
    End,
    /// A stop string was reached.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
}

/// Texts as vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One per input, in order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all inputs together.
    pub tokens: u32,
}

/// Requests that wait for the engine's thread at most.
pub(crate) const QUEUE: usize = 64;

/// A request on its way to the engine's thread.
pub(crate) enum Job {
    Generate(Box<Generation>),
    Embed {
        inputs: Vec<String>,
        normalize: bool,
        truncate: bool,
        reply: oneshot::Sender<Result<Embeddings, Error>>,
    },
    Tokenize {
        text: String,
        special: bool,
        reply: oneshot::Sender<Vec<i32>>,
    },
    Vocabulary {
        reply: oneshot::Sender<crate::grammar::Vocabulary>,
    },
}

/// A question with the way back for its answer.
pub(crate) struct Generation {
    pub(crate) request: Request,
    pub(crate) events: mpsc::Sender<Event>,
}
