//! The language models of this box, as far as generations need them.

use std::error::Error;
use std::fmt::Debug;

use futures::future::BoxFuture;

/// Why a model wrote nothing; its text is told to people.
pub type ModelError = Box<dyn Error + Send + Sync>;

/// Language models of this box.
pub trait LocalModels: Debug + Send + Sync {
    /// The model that writes: the named one, or the one that suits best.
    fn choose<'a>(&'a self, named: Option<&'a str>) -> BoxFuture<'a, Result<String, ModelError>>;

    /// Asks a model, and waits for its whole answer.
    fn write<'a>(
        &'a self,
        model: &'a str,
        question: Question<'a>,
    ) -> BoxFuture<'a, Result<Answer, ModelError>>;
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// How it is to be answered.
    pub system: Option<&'a str>,
    /// The question.
    pub prompt: &'a str,
    /// How far the answer may stray from the likeliest.
    pub temperature: f32,
    /// The same seed gives the same answer.
    pub seed: u32,
    /// Tokens of the answer at most.
    pub max_tokens: u32,
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Tokens that were read; 0 when that is not told.
    pub prompt_tokens: u32,
    /// Tokens that were written; 0 when that is not told.
    pub generated_tokens: u32,
}
