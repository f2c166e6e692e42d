//! Sampling, probabilities, stops and the stream of an answer.

use std::time::Duration;

use actionbooster_llm::{
    ContextFull, Conversation, Error, Event, FlashAttention, Format, Input, KvType, Message, Options, Reason,
    Request, Sampling,
};

use crate::support::{Answer, SPECIAL, ask, guide, prompt, question, thinker, wait, whole};

const PASSWORD: &str = "I forgot my password";

fn bytes(answer: &Answer) -> Vec<u8> {
    answer.logprobs.iter().flat_map(|token| token.chosen.bytes.clone()).collect()
}

#[test]
fn a_question_is_answered_until_the_model_ends() {
    let engine = guide(Options::default());
    let answer = ask(&engine, question(PASSWORD));
    assert!(answer.text.contains("boosterctl owner reset"), "{}", answer.text);
    assert_eq!(answer.finished.reason, Reason::End);
    assert_eq!(ask(&engine, question(PASSWORD)).text, answer.text, "greedy is always the same");
    let cut = ask(&engine, Request { max_tokens: 3, ..question(PASSWORD) });
    assert_eq!((cut.finished.reason, cut.finished.generated_tokens), (Reason::Length, 3));
}

#[test]
fn the_same_seed_gives_the_same_text_and_another_seed_another() {
    let engine = guide(Options::default());
    let with = |seed| {
        let sampling =
            Sampling { temperature: 5.0, top_k: 50, min_p: 0.0, seed: Some(seed), ..Sampling::default() };
        ask(&engine, Request { sampling, max_tokens: 24, ..question(PASSWORD) }).text
    };
    // The first one warms the memory, so that all the others are computed in the same pieces.
    with(1);
    let first = with(7);
    assert_eq!(with(7), first);
    assert!((8..12).any(|seed| with(seed) != first));
}

#[test]
fn truncation_leaves_only_the_best_token() {
    let engine = guide(Options::default());
    let greedy = ask(&engine, question(PASSWORD)).text;
    let hot = Sampling { temperature: 5.0, ..Sampling::default() };
    for (name, sampling) in [
        ("top_k", Sampling { top_k: 1, ..hot.clone() }),
        ("top_p", Sampling { top_p: 1e-6, ..hot.clone() }),
        ("min_p", Sampling { min_p: 1.0, ..hot }),
    ] {
        assert_eq!(ask(&engine, Request { sampling, ..question(PASSWORD) }).text, greedy, "{name}");
    }
}

#[test]
fn penalties_keep_tokens_from_coming_again() {
    let engine = guide(Options::default());
    let forbid_end: Vec<(i32, f32)> = SPECIAL.iter().map(|token| (*token, -100.0)).collect();
    let repeats = |presence_penalty, repeat_penalty, frequency_penalty| {
        let sampling = Sampling {
            presence_penalty,
            repeat_penalty,
            frequency_penalty,
            logit_bias: forbid_end.clone(),
            ..Sampling::default()
        };
        let request = Request { sampling, logprobs: Some(0), max_tokens: 60, ..question(PASSWORD) };
        let tokens = ask(&engine, request).logprobs;
        let mut different: Vec<_> = tokens.iter().map(|token| &token.chosen.bytes).collect();
        different.sort();
        different.dedup();
        tokens.len() - different.len()
    };
    let without = repeats(0.0, 1.0, 0.0);
    assert!(without > 0, "an endless answer repeats itself");
    assert!(repeats(100.0, 1.0, 0.0) < without);
    assert!(repeats(0.0, 100.0, 0.0) < without);
    assert!(repeats(0.0, 1.0, 100.0) < without);
}

#[test]
fn a_bias_brings_a_token_or_forbids_it_and_leaves_its_probability_as_it_was() {
    let engine = guide(Options::default());
    let request = Request { max_tokens: 1, logprobs: Some(2), ..question(PASSWORD) };
    let plain = ask(&engine, request.clone());
    let [token] = &plain.logprobs[..] else { panic!("one token: {plain:?}") };
    assert_eq!(token.alternatives[0], token.chosen, "greedy takes the best");
    assert!(token.alternatives[1].logprob <= token.chosen.logprob && token.chosen.logprob <= 0.0);

    let first = wait(engine.tokenize(plain.text.clone(), false)).expect("tokens")[0];
    let biased = |token, bias| {
        let sampling = Sampling { logit_bias: vec![(token, bias)], ..Sampling::default() };
        ask(&engine, Request { sampling, ..request.clone() })
    };
    let without = biased(first, -100.0);
    assert_eq!(without.logprobs[0].chosen.bytes, token.alternatives[1].bytes, "the second best follows");
    let rare = wait(engine.tokenize("z".into(), false)).expect("tokens")[0];
    let forced = biased(rare, 1000.0);
    assert_eq!(forced.text, "z");
    assert!(forced.logprobs[0].chosen.logprob < -3.0, "{:?}", forced.logprobs);
    assert_eq!(forced.logprobs[0].alternatives[0].bytes, token.chosen.bytes);

    for (token, bias) in [(-1, 1.0), (1_000_000, 1.0), (5, f32::NAN)] {
        let sampling = Sampling { logit_bias: vec![(token, bias)], ..Sampling::default() };
        let refused = engine.ask(Request { sampling, ..request.clone() }).expect_err("refused");
        assert!(matches!(refused, Error::LogitBias { .. }), "{refused}");
    }
}

#[test]
fn every_token_is_told_once_with_its_alternatives() {
    let engine = guide(Options::default());
    let answer = ask(&engine, Request { logprobs: Some(5), ..question(PASSWORD) });
    assert_eq!(bytes(&answer), answer.text.as_bytes());
    assert_eq!(answer.logprobs.len(), answer.finished.generated_tokens as usize);
    for token in &answer.logprobs {
        assert_eq!(token.alternatives.len(), 5);
        let sum: f32 = token.alternatives.iter().map(|candidate| candidate.logprob.exp()).sum();
        assert!(sum <= 1.001, "{token:?}");
        assert!(token.alternatives.is_sorted_by(|left, right| left.logprob >= right.logprob));
    }
    let none = ask(&engine, Request { logprobs: Some(0), ..question(PASSWORD) });
    assert!(!none.logprobs.is_empty() && none.logprobs.iter().all(|token| token.alternatives.is_empty()));
    assert!(ask(&engine, question(PASSWORD)).logprobs.is_empty());
}

#[test]
fn a_stop_that_lies_across_tokens_ends_the_answer_before_it() {
    let engine = guide(Options::default());
    let answer = ask(&engine, question(PASSWORD)).text;
    let at = answer.find("keyboard").expect("the guide's answer");
    let stop = answer[at + 3..at + 12].to_owned();
    let stopped = ask(&engine, Request { stop: vec![stop], logprobs: Some(0), ..question(PASSWORD) });
    assert_eq!(stopped.text, answer[..at + 3]);
    assert_eq!(stopped.finished.reason, Reason::Stop);
    let told = bytes(&stopped);
    assert!(told.starts_with(stopped.text.as_bytes()), "{}", told.escape_ascii());
}

#[test]
fn characters_made_of_several_tokens_come_whole() {
    let engine = guide(Options::default());
    let text = "¿🦫 ñandú?";
    let grammar = engine.grammar(&Format::Grammar(format!("root ::= \"{text}\""))).expect("grammar");
    let mut events = engine
        .ask(Request { grammar: Some(grammar), logprobs: Some(0), ..question(PASSWORD) })
        .expect("asked");
    let (mut pieces, mut tokens) = (Vec::new(), Vec::new());
    wait(async {
        while let Some(Event::Text(piece)) = events.recv().await {
            tokens.extend(piece.logprobs.into_iter().map(|token| token.chosen.bytes));
            pieces.push(piece.text);
        }
    });
    assert_eq!(pieces.concat(), text);
    assert!(tokens.iter().any(|token| std::str::from_utf8(token).is_err()), "no token is half a character");
    assert_eq!(tokens.concat(), text.as_bytes());
}

#[test]
fn dropping_the_stream_frees_the_slot_at_once() {
    let engine = guide(Options { slots: 1, context_tokens: 128, ..Options::default() });
    let logit_bias = SPECIAL.iter().map(|token| (*token, -100.0)).collect();
    let sampling = Sampling { logit_bias, ..Sampling::default() };
    let endless = Request { sampling, max_tokens: 0, context_full: ContextFull::Shift, ..question(PASSWORD) };
    let mut events = engine.ask(endless.clone()).expect("asked");
    assert!(matches!(wait(events.recv()), Some(Event::Text(_))));
    let waiting = engine.ask(endless).expect("asked");
    let last = engine.ask(question(PASSWORD)).expect("asked");
    // The first one is in the middle of its answer and the second one still waits.
    drop((events, waiting));
    assert!(whole(last).expect("answered").text.contains("boosterctl"));
}

#[test]
fn thoughts_that_grow_too_long_are_closed_and_the_answer_follows() {
    let folder = tempfile::tempdir().expect("folder");
    let engine = thinker(folder.path(), Options::default());
    let with =
        |most| ask(&engine, Request { max_reasoning_tokens: most, max_tokens: 40, ..question(PASSWORD) });
    let unlimited = with(None);
    assert!(!unlimited.reasoning.is_empty() && unlimited.text.is_empty(), "{unlimited:?}");
    assert_eq!(unlimited.finished.reasoning_tokens, unlimited.finished.generated_tokens);
    for most in [0, 1, 5] {
        let answer = with(Some(most));
        assert!(!answer.text.is_empty() && !answer.text.contains("think>"), "{most}: {answer:?}");
        assert!(answer.reasoning.is_empty() == (most == 0), "{most}: {answer:?}");
        // The tokens that close the thoughts belong to them.
        let told = answer.finished.reasoning_tokens;
        assert!((most..most + 12).contains(&told), "{most}: {told}");
    }
}

#[test]
fn a_turn_that_was_begun_goes_on_from_its_end() {
    let engine = guide(Options::default());
    let whole = ask(&engine, question(PASSWORD)).text;
    let middle = whole.char_indices().map(|(at, _)| at).nth(whole.chars().count() / 2).expect("a middle");
    let (begun, rest) = whole.split_at(whole[..middle].rfind(' ').expect("words"));
    let turns = vec![Message::new("user", PASSWORD), Message::new("assistant", begun)];
    let request = Request::new(Input::Chat(Conversation::new(turns)));
    let answer = ask(&engine, Request { max_tokens: 60, ..request });
    assert_eq!(answer.text, rest, "after {begun:?}");
}

#[test]
fn an_answer_without_end_has_one() {
    let logit_bias: Vec<(i32, f32)> = SPECIAL.iter().map(|token| (*token, -100.0)).collect();
    let endless = |max_tokens| {
        let sampling = Sampling { logit_bias: logit_bias.clone(), ..Sampling::default() };
        Request { sampling, max_tokens, context_full: ContextFull::Shift, ..question(PASSWORD) }
    };
    let options = Options { slots: 1, context_tokens: 128, ..Options::default() };
    let engine = guide(Options { max_answer_tokens: 200, ..options.clone() });
    for (wanted, told) in [(0, 200), (1000, 200), (7, 7)] {
        let finished = ask(&engine, endless(wanted)).finished;
        assert_eq!((finished.reason, finished.generated_tokens), (Reason::Length, told), "{wanted}");
    }
    let engine = guide(Options { max_answer_time: Duration::from_millis(200), ..options });
    let finished = ask(&engine, endless(0)).finished;
    assert_eq!(finished.reason, Reason::Length);
    // The place is free again.
    assert_eq!(ask(&engine, Request { max_tokens: 1, ..question(PASSWORD) }).finished.generated_tokens, 1);
}

#[test]
fn memory_may_be_stored_in_half_and_attention_fused_or_not() {
    for (kv_type, flash_attention) in [
        (KvType::Q8, FlashAttention::Auto),
        (KvType::F16, FlashAttention::On),
        (KvType::F16, FlashAttention::Off),
    ] {
        let engine = guide(Options { kv_type, flash_attention, ..Options::default() });
        assert_eq!(engine.description().kv_type, kv_type);
        let answer = ask(&engine, question(PASSWORD));
        assert!(
            answer.text.contains("boosterctl owner reset"),
            "{kv_type:?} {flash_attention:?}: {}",
            answer.text
        );
    }
    // Half of the memory needs fused attention; without it the model still loads.
    let options = Options { kv_type: KvType::Q8, flash_attention: FlashAttention::Off, ..Options::default() };
    assert_eq!(guide(options).description().kv_type, KvType::F16);
}

#[test]
fn prompts_that_leave_no_room_are_refused_with_both_numbers() {
    let engine = guide(Options { context_tokens: 64, ..Options::default() });
    let refused = whole(engine.ask(prompt(&"word ".repeat(500), 1)).expect("asked")).expect_err("refused");
    let Error::PromptTooLong { prompt: tokens, context: 64 } = refused else { panic!("{refused}") };
    assert!(tokens > 64);
    assert_eq!(whole(engine.ask(prompt("", 1)).expect("asked")), Err(Error::PromptEmpty));
}
