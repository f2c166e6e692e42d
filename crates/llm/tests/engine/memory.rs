//! What the context remembers between requests, shares between them, and forgets.

use actionbooster_llm::{ContextFull, Options, Reason, Request, Sampling};

use crate::support::{Answer, SPECIAL, ask, guide, prompt, question, whole};

fn system() -> String {
    "You are the guide of a box. Answer in one sentence and say so when you do not know. ".repeat(4)
}

fn endless(text: &str, max_tokens: u32) -> Request {
    let logit_bias = SPECIAL.iter().map(|token| (*token, -100.0)).collect();
    let sampling = Sampling { logit_bias, ..Sampling::default() };
    Request { sampling, logprobs: Some(1), ..prompt(text, max_tokens) }
}

/// The model saw the same before its first token. Later tokens may differ: sums of another order tip near ties.
fn assert_alike(one: &Answer, other: &Answer) {
    let best = |answer: &Answer| answer.logprobs[0].alternatives[0].clone();
    let (one, other) = (best(one), best(other));
    assert_eq!(one.bytes, other.bytes);
    assert!((one.logprob - other.logprob).abs() < 0.1, "{one:?} and {other:?}");
}

#[test]
fn a_second_turn_reads_only_what_is_new() {
    let engine = guide(Options { slots: 1, ..Options::default() });
    let first = ask(&engine, endless(system().trim_end(), 10));
    assert_eq!(first.finished.reused_tokens, 0);
    let conversation = format!("{}{} And how do I update it?", system().trim_end(), first.text);
    let second = ask(&engine, endless(&conversation, 10));
    assert!(second.finished.reused_tokens >= first.finished.prompt_tokens, "{second:?}");
    assert!(second.finished.reused_tokens < second.finished.prompt_tokens);
    let fresh = ask(&guide(Options { slots: 1, ..Options::default() }), endless(&conversation, 10));
    assert_eq!(fresh.finished.reused_tokens, 0);
    assert_alike(&second, &fresh);
    let again = ask(&engine, endless(&conversation, 10));
    assert_eq!(
        again.finished.reused_tokens,
        again.finished.prompt_tokens - 1,
        "the last token is read again"
    );
}

#[test]
fn requests_that_begin_alike_read_the_beginning_once() {
    let engine = guide(Options { slots: 3, ..Options::default() });
    let texts = ["How do I update the box?", "Which hardware runs it?", "I forgot my password."]
        .map(|question| format!("{}{question}", system()));
    let events = texts.each_ref().map(|text| engine.ask(endless(text, 12)).expect("asked"));
    let answers = events.map(|events| whole(events).expect("answered"));
    let read: u32 =
        answers.iter().map(|answer| answer.finished.prompt_tokens - answer.finished.reused_tokens).sum();
    let longest = answers.iter().map(|answer| answer.finished.prompt_tokens).max().expect("three");
    assert!(read < longest + 40, "{read} tokens were read for prompts of {longest} and less");
    let alone = guide(Options { slots: 1, ..Options::default() });
    for (answer, text) in answers.iter().zip(&texts) {
        assert_alike(answer, &ask(&alone, endless(text, 12)));
    }
}

#[test]
fn a_full_context_ends_the_answer_or_makes_room() {
    let engine = guide(Options { slots: 2, context_tokens: 128, ..Options::default() });
    let cut = ask(&engine, endless("How do I update the box?", 0));
    assert_eq!(cut.finished.reason, Reason::Length);
    assert_eq!(cut.finished.prompt_tokens + cut.finished.generated_tokens, 128);

    let password = question("I forgot my password");
    let before = ask(&engine, password.clone()).text;
    let shift = Request { context_full: ContextFull::Shift, ..endless("How do I update the box?", 500) };
    let long = ask(&engine, shift);
    assert_eq!((long.finished.reason, long.finished.generated_tokens), (Reason::Length, 500));
    assert_eq!(long.logprobs.len(), 500);
    // What was moved is no memory of any text: nobody builds on it, here or in the other slot.
    let one = engine.ask(password.clone()).expect("asked");
    let other = engine.ask(password).expect("asked");
    for events in [one, other] {
        assert_eq!(whole(events).expect("answered").text, before);
    }
    let again = ask(&engine, endless("How do I update the box?", 0));
    assert_alike(&again, &cut);
}
