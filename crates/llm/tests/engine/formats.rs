//! Answers of a wanted shape.

use actionbooster_llm::{Engine, Error, Format, Options, Reason, Request, Sampling};

use crate::support::{Answer, ask, guide, question, whole};

fn shaped(engine: &Engine, format: &Format, seed: u32) -> Answer {
    let grammar = engine.grammar(format).expect("a shape");
    let sampling = Sampling { temperature: 2.0, seed: Some(seed), ..Sampling::default() };
    let request =
        Request { grammar: Some(grammar), sampling, max_tokens: 300, ..question("Which hardware runs it?") };
    ask(engine, request)
}

#[test]
fn an_answer_fits_its_schema_whatever_the_model_would_say() {
    let engine = guide(Options::default());
    let schema = r#"{"type":"object","properties":{"name":{"type":"string","maxLength":12},
        "kind":{"enum":["pc","board"]},"memory":{"type":"integer","minimum":1,"maximum":64},
        "tags":{"type":"array","items":{"type":"string","maxLength":5},"minItems":1,"maxItems":2}},
        "required":["name","kind","memory","tags"],"additionalProperties":false}"#;
    for seed in 0..4 {
        let answer = shaped(&engine, &Format::JsonSchema(schema.to_owned()), seed);
        assert_eq!(answer.finished.reason, Reason::End, "{}", answer.text);
        let value: serde_json::Value = serde_json::from_str(&answer.text).expect(&answer.text);
        assert!(value["name"].as_str().is_some_and(|name| name.chars().count() <= 12), "{value}");
        assert!(["pc", "board"].contains(&value["kind"].as_str().unwrap_or_default()), "{value}");
        assert!(value["memory"].as_u64().is_some_and(|memory| (1..=64).contains(&memory)), "{value}");
        assert!(value["tags"].as_array().is_some_and(|tags| (1..=2).contains(&tags.len())), "{value}");
    }
}

#[test]
fn an_answer_fits_its_grammar() {
    let engine = guide(Options::default());
    let list = "root ::= \"[\" (item (\",\" item)*)? \"]\"\nitem ::= [a-f]{1,3} | root # lists in lists";
    for seed in 0..4 {
        let answer = shaped(&engine, &Format::Grammar(list.to_owned()), seed);
        let fits = |character| "abcdef,[]".contains(character);
        assert!(answer.text.chars().all(fits) && answer.text.starts_with('['), "{}", answer.text);
    }
    let choice = shaped(&engine, &Format::Grammar("root ::= \"yes\" | \"no\"".to_owned()), 1);
    assert!(["yes", "no"].contains(&choice.text.as_str()), "{}", choice.text);
    assert_eq!(choice.finished.reason, Reason::End);
}

#[test]
fn any_json_object_ends_as_one_or_is_cut_by_the_limit() {
    let engine = guide(Options::default());
    let answer = shaped(&engine, &Format::JsonObject, 3);
    match answer.finished.reason {
        Reason::End => {
            let value: serde_json::Value = serde_json::from_str(&answer.text).expect(&answer.text);
            assert!(value.is_object());
        }
        reason => {
            assert_eq!(reason, Reason::Length);
            assert!(answer.text.starts_with('{'), "{}", answer.text);
        }
    }
}

#[test]
fn answers_of_different_shapes_are_made_together() {
    let engine = guide(Options::default());
    let ask = |text: &str| {
        let grammar = engine.grammar(&Format::Grammar(format!("root ::= \"{text}\"{{3}}"))).expect("grammar");
        engine.ask(Request { grammar: Some(grammar), ..question("Which hardware runs it?") }).expect("asked")
    };
    let (one, two) = (ask("one "), ask("two "));
    assert_eq!(whole(two).expect("answer").text, "two two two ");
    assert_eq!(whole(one).expect("answer").text, "one one one ");
}

#[test]
fn impossible_shapes_are_refused_and_the_engine_goes_on() {
    let engine = guide(Options::default());
    let chain: String = (0..4000).map(|rule| format!("r{rule}: r{}\n", rule + 1)).collect();
    for format in [
        Format::JsonSchema("{\"type\":".into()),
        Format::JsonSchema(r#"{"type":"string","minLength":9,"maxLength":3}"#.into()),
        Format::Grammar("root ::= missing".into()),
        Format::Grammar("start: (".into()),
        Format::Grammar(format!("start: {}", "(".repeat(60_000))),
        Format::Grammar(format!("start: r0\n{chain}")),
    ] {
        let refused = engine.grammar(&format).expect_err("refused");
        assert!(matches!(refused, Error::Format(_)), "{refused}");
    }
    assert!(!ask(&engine, question("Which hardware runs it?")).text.is_empty());
}
