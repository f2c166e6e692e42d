//! How many tokens a request will probably take: what it counts in its caller's share of a model.

use actionbooster_scheduler::LeaseRequest;
use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::generate_request::Input;

/// Bytes of a token, about.
const BYTES_OF_TOKEN: usize = 4;
/// Tokens of an answer whose length nobody bounded.
const USUAL_ANSWER: u32 = 512;

/// The same request with the tokens of a generation: those of its prompt, and of the answer that it wishes.
pub(crate) fn of_generation(request: LeaseRequest, generation: &wire::GenerateRequest) -> LeaseRequest {
    let prompt = match &generation.input {
        Some(Input::Chat(chat)) => bytes_of_chat(chat),
        Some(Input::Prompt(prompt)) => prompt.len(),
        None => 0,
    };
    let answer = if generation.max_tokens == 0 { USUAL_ANSWER } else { generation.max_tokens };
    LeaseRequest { tokens: tokens(prompt).saturating_add(answer), ..request }
}

/// The same request with the tokens of a conversation that is only read.
pub(crate) fn of_chat(request: LeaseRequest, chat: &wire::Chat) -> LeaseRequest {
    LeaseRequest { tokens: tokens(bytes_of_chat(chat)), ..request }
}

/// The same request with the tokens of these texts.
pub(crate) fn of_texts(request: LeaseRequest, texts: &[String]) -> LeaseRequest {
    LeaseRequest { tokens: tokens(texts.iter().map(String::len).sum()), ..request }
}

/// What an answer took: what the model had to read, and what it wrote.
pub(crate) fn of_account(account: &wire::Finished) -> u32 {
    let read = account.prompt_tokens.saturating_sub(account.cached_prompt_tokens);
    read.saturating_add(account.generated_tokens)
}

/// At least one, so that nothing is for nothing.
fn tokens(bytes: usize) -> u32 {
    u32::try_from(bytes / BYTES_OF_TOKEN).unwrap_or(u32::MAX).max(1)
}

fn bytes_of_chat(chat: &wire::Chat) -> usize {
    let of_call = |call: &wire::ToolCall| call.name.len() + call.arguments.len();
    let of_message = |message: &wire::ChatMessage| {
        message.content.len() + message.tool_calls.iter().map(of_call).sum::<usize>()
    };
    chat.tools.len() + chat.messages.iter().map(of_message).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ask::question;
    use crate::request_context::RequestContext;

    #[test]
    fn a_request_counts_its_prompt_and_the_answer_that_it_wishes() {
        let request = || RequestContext::background("test").lease_request("m", Duration::ZERO);
        let generation = |prompt: &str, max_tokens| {
            let input = Some(question(prompt));
            let generation = wire::GenerateRequest { input, max_tokens, ..wire::GenerateRequest::default() };
            of_generation(request(), &generation).tokens
        };
        assert_eq!(generation(&"a".repeat(400), 50), 150);
        assert_eq!(generation(&"a".repeat(400), 0), 100 + USUAL_ANSWER);
        assert_eq!(generation("", u32::MAX), u32::MAX);
        let tools = wire::Chat { tools: "t".repeat(4000), ..wire::Chat::default() };
        assert_eq!(of_chat(request(), &tools).tokens, 1000);
        assert_eq!(of_texts(request(), &["a".repeat(30), "b".repeat(10)]).tokens, 10);
        assert_eq!(of_texts(request(), &[]).tokens, 1);
        let account = wire::Finished {
            prompt_tokens: 100,
            cached_prompt_tokens: 90,
            generated_tokens: 7,
            ..wire::Finished::default()
        };
        assert_eq!(of_account(&account), 17);
    }
}
