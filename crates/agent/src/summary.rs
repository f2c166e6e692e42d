//! One text out of several answers.
//!
//! When a model that can write was asked, it integrates the answers. Otherwise the summary is
//! extractive: sentences that several answers share come first, then what only one says, with its
//! source. It invents nothing.

use std::collections::BTreeSet;

use actionbooster_models::Role;

/// Share of common words from which two sentences say the same (Jaccard index).
const SAME: f64 = 0.6;
/// Sentences of a summary at most.
const LONGEST: usize = 12;

/// An answer that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) model: String,
    /// What it is good for, if that is known.
    pub(crate) role: Option<Role>,
    pub(crate) text: String,
}

/// What the writing model is asked.
pub(crate) fn instruction(prompt: &str, answers: &[Answered]) -> String {
    let mut text = String::from(
        "Several assistants answered the same question. Write one answer in the language of the question: \
         say what they agree on, then name each disagreement and who holds which view. Add nothing of your own.\n",
    );
    text.push_str("\nQuestion:\n");
    text.push_str(prompt);
    for answer in answers {
        text.push_str("\n\nAnswer of ");
        text.push_str(&answer.model);
        if let Some(role) = answer.role {
            text.push_str(", made for ");
            text.push_str(role.name_en());
        }
        text.push_str(":\n");
        text.push_str(answer.text.trim());
    }
    text
}

/// The summary without a model's help.
pub(crate) fn extract(answers: &[Answered]) -> String {
    struct Group<'a> {
        sentence: &'a str,
        words: BTreeSet<String>,
        models: Vec<&'a str>,
    }
    let mut groups: Vec<Group> = Vec::new();
    for answer in answers {
        for sentence in sentences(&answer.text) {
            let words = words(sentence);
            match groups.iter_mut().find(|group| similarity(&group.words, &words) >= SAME) {
                Some(group) if group.models.contains(&answer.model.as_str()) => {}
                Some(group) => group.models.push(&answer.model),
                None => groups.push(Group { sentence, words, models: vec![&answer.model] }),
            }
        }
    }
    // Stable: within equal support the order of the answers stays.
    groups.sort_by_key(|group| std::cmp::Reverse(group.models.len()));
    let lines: Vec<String> = groups
        .iter()
        .take(LONGEST)
        .map(|group| format!("{} [{}]", group.sentence, group.models.join(", ")))
        .collect();
    lines.join("\n")
}

/// Lines, cut after `.`, `!`, `?` or `…` where white space follows: addresses and numbers stay whole.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let said = |sentence: &&str| sentence.chars().any(char::is_alphanumeric);
    text.lines().flat_map(sentences_of_line).map(str::trim).filter(said)
}

fn sentences_of_line(mut rest: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let ends = |(at, character): (usize, char)| {
            let next = at + character.len_utf8();
            let closes = matches!(character, '.' | '!' | '?' | '…');
            (closes && rest[next..].chars().next().is_none_or(char::is_whitespace)).then_some(next)
        };
        let end = rest.char_indices().find_map(ends).unwrap_or(rest.len());
        let (sentence, left) = rest.split_at(end);
        rest = left;
        (!sentence.is_empty()).then_some(sentence)
    })
}

fn words(sentence: &str) -> BTreeSet<String> {
    sentence
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn similarity(left: &BTreeSet<String>, right: &BTreeSet<String>) -> f64 {
    let common = left.intersection(right).count();
    let all = left.len() + right.len() - common;
    if all == 0 { 0.0 } else { common as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(pairs: &[(&str, &str)]) -> Vec<Answered> {
        pairs
            .iter()
            .map(|(model, text)| Answered { model: (*model).into(), role: None, text: (*text).into() })
            .collect()
    }

    #[test]
    fn the_writer_is_given_the_question_and_every_answer_with_its_source() {
        let text = instruction("¿Llueve?", &answers(&[("a", " Sí. "), ("b", "No.")]));
        for part in ["language of the question", "¿Llueve?", "Answer of a:\nSí.", "Answer of b:\nNo."] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_several_say_comes_first_and_everything_has_its_source() {
        let cases = [
            (
                answers(&[("a", "It rains. The box is on."), ("b", "The box is on! Nothing else.")]),
                "The box is on. [a, b]\nIt rains. [a]\nNothing else. [b]",
            ),
            (answers(&[("a", "Same. Same.")]), "Same. [a]"),
            (
                answers(&[("a", "Open https://192.168.1.5 now! It takes 1.5 s…"), ("b", "¿Qué?\nNada")]),
                "Open https://192.168.1.5 now! [a]\nIt takes 1.5 s… [a]\n¿Qué? [b]\nNada [b]",
            ),
            (
                answers(&[("a", "The code is on the screen."), ("b", "The claim code is on the screen.")]),
                "The code is on the screen. [a, b]",
            ),
            (answers(&[("a", "...")]), ""),
            (answers(&[]), ""),
        ];
        for (answers, expected) in cases {
            assert_eq!(extract(&answers), expected);
        }
    }
}
