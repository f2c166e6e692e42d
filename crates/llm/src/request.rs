//! What goes into the engine and what comes out.

use tokio::sync::mpsc;

use crate::{Error, Message, Sampling};

/// A question to the model.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the model reads.
    pub input: Input,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Tokens to generate at most; 0 means until the context is full.
    pub max_tokens: u32,
    /// The answer ends before any of these.
    pub stop: Vec<String>,
}

/// What the model reads.
#[derive(Debug, Clone)]
pub enum Input {
    /// Rendered with the model's chat template.
    Chat(Vec<Message>),
    /// Used as it is.
    Prompt(String),
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// More of the answer: whole characters.
    Text(String),
    /// The end of the answer.
    Finished(Finished),
    /// The end without an answer, or in the middle of one.
    Failed(Error),
}

/// The account of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Why it ended.
    pub reason: Reason,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the prompt that were still in memory from an earlier request.
    pub reused_tokens: u32,
    /// Tokens of the answer.
    pub generated_tokens: u32,
    /// Time from the first to the last token of the prompt, in microseconds.
    pub prompt_us: u64,
    /// Time spent on the answer, in microseconds.
    pub generate_us: u64,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The model ended it.
    End,
    /// A stop string was reached.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
}

/// A request on its way to the engine's thread.
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) events: mpsc::Sender<Event>,
}
