//! What a model reads: a request's input as tokens.

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::Error;
use crate::chat::Conversation;
use crate::reply::{END_OF_REASONING, Layout, Reply};
use crate::request::Input;
use crate::template::render;

/// Turns inputs into tokens, for one model.
pub(crate) struct PromptReader<'model> {
    model: &'model LlamaModel,
    template: Option<String>,
    layout: Layout,
    context_tokens: u32,
}

/// A request's input as the model reads it.
pub(crate) struct Prompt {
    pub(crate) tokens: Vec<LlamaToken>,
    /// What takes the answer apart; absent when it is told as it is.
    pub(crate) reply: Option<Reply>,
}

impl<'model> PromptReader<'model> {
    pub(crate) fn new(model: &'model LlamaModel, context_tokens: u32) -> Self {
        let template = model.chat_template(None).ok().and_then(|template| template.to_string().ok());
        let layout = Layout::of(template.as_deref());
        Self { model, template, layout, context_tokens }
    }

    /// The tokens of an input that leaves room for an answer. `shaped` says that the answer has a wanted shape.
    pub(crate) fn read(&self, input: &Input, shaped: bool) -> Result<Prompt, Error> {
        let vocabulary = self.model.vocab();
        let prompt = match input {
            Input::Prompt(text) => {
                Prompt { tokens: vocabulary.tokenize(text.as_bytes(), true, true), reply: None }
            }
            Input::Chat(conversation) => self.read_chat(conversation, shaped)?,
        };
        let count = prompt.tokens.len();
        if count == 0 {
            return Err(Error::PromptEmpty);
        }
        if count as u64 >= u64::from(self.context_tokens) {
            return Err(Error::PromptTooLong { prompt: count, context: self.context_tokens });
        }
        Ok(prompt)
    }

    fn read_chat(&self, conversation: &Conversation, shaped: bool) -> Result<Prompt, Error> {
        let vocabulary = self.model.vocab();
        let piece =
            |token| String::from_utf8_lossy(&vocabulary.token_to_piece(token, true, None)).into_owned();
        let bos = if vocabulary.bos().0 < 0 { String::new() } else { piece(vocabulary.bos()) };
        let eos = if vocabulary.eos().0 < 0 { String::new() } else { piece(vocabulary.eos()) };
        let begun = if shaped { None } else { conversation.begun_turn() };
        let whole = begun.is_none().then_some(conversation);
        let asked = begun.map(|_| conversation.without_last());
        let asked = whole.or(asked.as_ref()).unwrap_or(conversation);
        let mut text = render(self.template.as_deref(), asked, &bos, &eos)?;
        // The shape is that of the answer, not of thoughts about it.
        if let Some(end) = self.layout.end_of_reasoning(&text).filter(|_| shaped || begun.is_some()) {
            text.push_str(end);
        }
        if let Some(begun) = begun {
            text.push_str(&begun.content);
        }
        let begins_itself = !bos.is_empty() && text.starts_with(&bos);
        let tokens = vocabulary.tokenize(text.as_bytes(), !begins_itself, true);
        let reply =
            (!conversation.raw).then(|| Reply::new(self.layout, conversation, &text, begun.is_some()));
        Ok(Prompt { tokens, reply })
    }

    /// The tokens that close thoughts.
    pub(crate) fn end_of_reasoning(&self) -> Vec<LlamaToken> {
        self.model.vocab().tokenize(END_OF_REASONING.as_bytes(), false, true)
    }

    /// Tokens that mark parts of an answer, although the file may call them special.
    pub(crate) fn marks(&self) -> Vec<LlamaToken> {
        let vocabulary = self.model.vocab();
        let alone = |mark: &str| match vocabulary.tokenize(mark.as_bytes(), false, true).as_slice() {
            [token] => Some(*token),
            _ => None,
        };
        Layout::marks().filter_map(alone).collect()
    }
}
