//! Texts as vectors.

use actionbooster_llm::{Engine, Error, Options};

use crate::support::{ask, guide, question, wait};

fn embed(engine: &Engine, inputs: &[&str], normalize: bool) -> Vec<Vec<f32>> {
    let inputs = inputs.iter().map(ToString::to_string).collect();
    wait(engine.embed(inputs, normalize, false)).expect("embedded").vectors
}

fn product(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

#[test]
fn every_text_gets_a_vector_of_length_one_whatever_comes_with_it() {
    let engine = guide(Options::default());
    let long = "how do i change the password of the box? ".repeat(20);
    let texts = ["I forgot my password", &long, "Which cameras work?"];
    let together = embed(&engine, &texts, true);
    assert_eq!(together.len(), 3);
    for (vector, text) in together.iter().zip(texts) {
        assert_eq!(vector.len(), engine.description().embedding_length as usize);
        assert!((product(vector, vector) - 1.0).abs() < 1e-4);
        let alone = &embed(&engine, &[text], true)[0];
        assert!(product(alone, vector) > 0.9999, "{text}");
    }
    assert!(product(&together[0], &together[2]) < 0.999, "different texts have different vectors");
    let plain = &embed(&engine, &[texts[0]], false)[0];
    let length = product(plain, plain).sqrt();
    assert!((length - 1.0).abs() > 0.01);
    assert!((product(plain, &together[0]) / length - 1.0).abs() < 1e-4, "the direction is the same");
}

#[test]
fn similar_texts_are_nearer_than_others() {
    let engine = guide(Options::default());
    let vectors = embed(
        &engine,
        &["I forgot my password", "I have forgotten the password", "Which hardware runs it?"],
        true,
    );
    let (near, far) = (product(&vectors[0], &vectors[1]), product(&vectors[0], &vectors[2]));
    assert!(near > far, "{near} and {far}");
}

#[test]
fn texts_longer_than_the_context_are_refused_with_both_numbers() {
    let engine = guide(Options { context_tokens: 64, ..Options::default() });
    let long = "word ".repeat(100);
    let refused = wait(engine.embed(vec!["short".into(), long], true, false)).expect_err("refused");
    let Error::InputTooLong { number: 2, tokens, context: 64 } = refused else { panic!("{refused}") };
    assert!(refused.to_string().contains(&tokens.to_string()) && tokens > 64);
    for inputs in [vec![], vec![String::new()]] {
        assert_eq!(wait(engine.embed(inputs, true, false)), Err(Error::PromptEmpty));
    }
}

#[test]
fn answers_go_on_beside_embeddings() {
    let engine = guide(Options::default());
    let alone = ask(&engine, question("I forgot my password")).text;
    let beside = std::thread::scope(|scope| {
        let embedding = scope.spawn(|| embed(&engine, &["one text"; 20], true));
        let answer = ask(&engine, question("I forgot my password")).text;
        assert_eq!(embedding.join().expect("embedded").len(), 20);
        answer
    });
    assert_eq!(beside, alone);
}

#[test]
fn texts_are_told_as_tokens() {
    let engine = guide(Options::default());
    let tokens = |text: &str, special| wait(engine.tokenize(text.into(), special)).expect("tokens");
    assert_eq!(tokens("", true), [0; 0]);
    assert_eq!(tokens("<|im_end|>", true), [1]);
    assert!(tokens("<|im_end|>", false).len() > 1);
    let (word, words) = (tokens(" password", false), tokens(" password password", false));
    assert_eq!(words, [&word[..], &word[..]].concat());
}
