//! Between the messages of `proto/runner.proto` and the engine's own types.

use actionbooster_llm::{
    Candidate, ContextFull, Conversation, Error, Event, Finished, Format, Input, Message, Reason, Sampling,
    TokenLogprob, ToolCall, ToolChoice,
};
use actionbooster_wire::runner::v1 as wire;

/// What a request wants, and the model's own choice for the rest.
pub(crate) fn sampling(wish: wire::Sampling, own: &Sampling) -> Sampling {
    Sampling {
        temperature: wish.temperature.unwrap_or(own.temperature),
        top_p: wish.top_p.unwrap_or(own.top_p),
        top_k: wish.top_k.unwrap_or(own.top_k),
        min_p: wish.min_p.unwrap_or(own.min_p),
        repeat_penalty: wish.repeat_penalty.unwrap_or(own.repeat_penalty),
        frequency_penalty: wish.frequency_penalty.unwrap_or(own.frequency_penalty),
        presence_penalty: wish.presence_penalty.unwrap_or(own.presence_penalty),
        seed: wish.seed.or(own.seed),
        logit_bias: wish.logit_bias.into_iter().map(|bias| (bias.token, bias.bias)).collect(),
    }
}

pub(crate) fn input(input: Option<wire::generate_request::Input>) -> Result<Input, Error> {
    use wire::generate_request::Input as Wire;
    match input {
        Some(Wire::Prompt(prompt)) => Ok(Input::Prompt(prompt)),
        Some(Wire::Chat(chat)) => conversation(chat).map(Input::Chat),
        None => Err(Error::PromptEmpty),
    }
}

fn conversation(chat: wire::Chat) -> Result<Conversation, Error> {
    let choice = match (chat.tool_choice(), chat.tool_name.is_empty()) {
        (wire::ToolChoice::Auto, _) => ToolChoice::Auto,
        (wire::ToolChoice::None, _) => ToolChoice::Never,
        (wire::ToolChoice::Required, true) => ToolChoice::Required,
        (wire::ToolChoice::Required, false) => ToolChoice::Named(chat.tool_name),
    };
    Ok(Conversation {
        messages: chat.messages.into_iter().map(message).collect(),
        tools: json("tools", &chat.tools)?,
        choice,
        arguments: json("template_arguments", &chat.template_arguments)?,
        raw: chat.raw,
    })
}

fn json<T: serde::de::DeserializeOwned + Default>(name: &str, text: &str) -> Result<T, Error> {
    if text.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(text).map_err(|error| Error::Template(format!("{name}: {error}")))
}

fn message(message: wire::ChatMessage) -> Message {
    let call = |call: wire::ToolCall| ToolCall { id: call.id, name: call.name, arguments: call.arguments };
    Message {
        role: message.role,
        content: message.content,
        reasoning: message.reasoning,
        calls: message.tool_calls.into_iter().map(call).collect(),
        call_id: message.tool_call_id,
        name: message.name,
    }
}

pub(crate) fn format(format: Option<wire::generate_request::Format>) -> Option<Format> {
    use wire::generate_request::Format as Wire;
    match format? {
        Wire::JsonObject(wanted) => wanted.then_some(Format::JsonObject),
        Wire::JsonSchema(schema) => Some(Format::JsonSchema(schema)),
        Wire::Grammar(grammar) => Some(Format::Grammar(grammar)),
    }
}

pub(crate) const fn context_full(wish: wire::ContextFull) -> ContextFull {
    match wish {
        wire::ContextFull::Error => ContextFull::End,
        wire::ContextFull::Shift => ContextFull::Shift,
    }
}

pub(crate) fn event(event: Event) -> Result<wire::GenerateEvent, Error> {
    use wire::generate_event::Event as Wire;
    let event = match event {
        Event::Text(piece) => {
            let logprobs = piece.logprobs.into_iter().map(token).collect();
            Wire::Text(wire::Text { text: piece.text, logprobs })
        }
        Event::Read(tokens) => Wire::ReadTokens(tokens),
        Event::Reasoning(text) => Wire::Reasoning(text),
        Event::Call(ToolCall { id, name, arguments }) => {
            Wire::ToolCall(wire::ToolCall { id, name, arguments })
        }
        Event::Finished(finished) => Wire::Finished(account(finished)),
        Event::Failed(error) => return Err(error),
    };
    Ok(wire::GenerateEvent { event: Some(event) })
}

fn token(token: TokenLogprob) -> wire::TokenLogprob {
    let alternative = |candidate: Candidate| wire::Alternative {
        text: String::from_utf8_lossy(&candidate.bytes).into_owned(),
        raw: candidate.bytes,
        logprob: candidate.logprob,
    };
    let wire::Alternative { text, raw, logprob } = alternative(token.chosen);
    let alternatives = token.alternatives.into_iter().map(alternative).collect();
    wire::TokenLogprob { text, raw, logprob, alternatives }
}

fn account(finished: Finished) -> wire::Finished {
    let reason = match finished.reason {
        Reason::End => wire::finished::Reason::End,
        Reason::Stop => wire::finished::Reason::Stop,
        Reason::Length => wire::finished::Reason::Length,
    };
    wire::Finished {
        reason: reason.into(),
        stop: finished.stop.unwrap_or_default(),
        prompt_tokens: finished.prompt_tokens,
        generated_tokens: finished.generated_tokens,
        reasoning_tokens: finished.reasoning_tokens,
        prompt_us: finished.prompt_us,
        generate_us: finished.generate_us,
        cached_prompt_tokens: finished.reused_tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_does_not_say_is_the_models_own() {
        let own = Sampling { temperature: 0.7, seed: Some(1), ..Sampling::default() };
        let bias = wire::LogitBias { token: 5, bias: -1.5 };
        let wish = wire::Sampling { top_k: Some(3), logit_bias: vec![bias], ..wire::Sampling::default() };
        let expected = Sampling {
            temperature: 0.7,
            seed: Some(1),
            top_k: 3,
            logit_bias: vec![(5, -1.5)],
            ..Sampling::default()
        };
        assert_eq!(sampling(wish, &own), expected);
    }

    #[test]
    fn a_shape_not_wanted_is_none() {
        use wire::generate_request::Format as Wire;
        assert_eq!(format(Some(Wire::JsonObject(false))), None);
        assert_eq!(format(Some(Wire::JsonObject(true))), Some(Format::JsonObject));
        assert_eq!(format(Some(Wire::Grammar("g".into()))), Some(Format::Grammar("g".into())));
        assert_eq!(format(None), None);
    }

    #[test]
    fn tokens_that_are_half_a_character_keep_their_bytes() {
        let candidate = |bytes: &[u8], logprob| Candidate { bytes: bytes.to_vec(), logprob };
        let told = token(TokenLogprob {
            chosen: candidate(b"\xc3", -0.5),
            alternatives: vec![candidate(b"a", -1.0)],
        });
        assert_eq!((told.text.as_str(), told.raw.as_slice()), ("\u{fffd}", &b"\xc3"[..]));
        assert_eq!(told.alternatives.len(), 1);
        assert_eq!(told.alternatives[0].text, "a");
    }
}
