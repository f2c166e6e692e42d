//! What a model reads: a request's input as tokens.

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::Error;
use crate::request::Input;
use crate::template::{Message, render};

/// Turns inputs into tokens, for one model.
pub(crate) struct PromptReader<'model> {
    model: &'model LlamaModel,
    template: Option<String>,
    context_tokens: u32,
}

impl<'model> PromptReader<'model> {
    pub(crate) fn new(model: &'model LlamaModel, context_tokens: u32) -> Self {
        let template = model.chat_template(None).ok().and_then(|template| template.to_string().ok());
        Self { model, template, context_tokens }
    }

    /// The tokens of an input that leaves room for an answer.
    pub(crate) fn read(&self, input: &Input) -> Result<Vec<LlamaToken>, Error> {
        let vocabulary = self.model.vocab();
        let tokens = match input {
            Input::Prompt(text) => vocabulary.tokenize(text.as_bytes(), true, true),
            Input::Chat(messages) => {
                let (text, begins_itself) = self.render(messages)?;
                vocabulary.tokenize(text.as_bytes(), !begins_itself, true)
            }
        };
        if tokens.is_empty() {
            return Err(Error::PromptEmpty);
        }
        if tokens.len() as u64 >= u64::from(self.context_tokens) {
            return Err(Error::PromptTooLong { prompt: tokens.len(), context: self.context_tokens });
        }
        Ok(tokens)
    }

    /// The rendered prompt, and whether it begins with the BOS token already.
    fn render(&self, messages: &[Message]) -> Result<(String, bool), Error> {
        let vocabulary = self.model.vocab();
        let piece =
            |token| String::from_utf8_lossy(&vocabulary.token_to_piece(token, true, None)).into_owned();
        let bos = if vocabulary.bos().0 < 0 { String::new() } else { piece(vocabulary.bos()) };
        let eos = if vocabulary.eos().0 < 0 { String::new() } else { piece(vocabulary.eos()) };
        let text = render(self.template.as_deref(), messages, &bos, &eos)?;
        let begins_itself = !bos.is_empty() && text.starts_with(&bos);
        Ok((text, begins_itself))
    }
}
