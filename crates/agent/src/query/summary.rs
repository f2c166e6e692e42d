//! One text out of several answers.
//!
//! When a model that can write was asked, it integrates the answers. Otherwise, and where what it wrote is worth
//! less, the summary is extractive: sentences that several answers share come first, then what only one says, with
//! its source. It invents nothing.

use std::collections::BTreeSet;

use actionbooster_models::Role;
use serde::Serialize;

use super::selection::loops;

/// Share of common words from which two sentences say the same (Jaccard index).
const SAME: f64 = 0.6;
/// Sentences of a summary at most.
const LONGEST: usize = 12;
/// Share of the words that matter in what is to be said that a written summary must say too.
const LEAST: f64 = 0.4;
/// Letters of a word that matters, at least.
const LETTERS: usize = 4;

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

/// What is said, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Point {
    /// In the words of the first who says it.
    pub(crate) text: String,
    pub(crate) models: Vec<String>,
}

/// What the answers say: what several share first, within equal support in the order of the answers.
pub(crate) fn points(answers: &[Answered]) -> Vec<Point> {
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
    let point = |group: Group<'_>| Point {
        text: group.sentence.to_owned(),
        models: group.models.into_iter().map(str::to_owned).collect(),
    };
    groups.into_iter().take(LONGEST).map(point).collect()
}

/// The summary without a model's help.
pub(crate) fn extract(points: &[Point]) -> String {
    let lines: Vec<String> =
        points.iter().map(|point| format!("{} [{}]", point.text, point.models.join(", "))).collect();
    lines.join("\n")
}

/// Whether a written summary may stand for the answers: it does not go round in circles, and says of what several
/// agree on, or of everything where they agree on nothing, as much as it has to.
pub(crate) fn stands_for(summary: &str, points: &[Point]) -> bool {
    let agreed: Vec<&Point> = points.iter().filter(|point| point.models.len() > 1).collect();
    let told = if agreed.is_empty() { points.iter().collect() } else { agreed };
    let matters = |text: &str| words(text).into_iter().filter(|word| word.chars().count() >= LETTERS);
    let told: BTreeSet<String> = told.iter().flat_map(|point| matters(&point.text)).collect();
    let said: BTreeSet<String> = matters(summary).collect();
    let share =
        if told.is_empty() { 1.0 } else { told.intersection(&said).count() as f64 / told.len() as f64 };
    !summary.trim().is_empty() && !loops(summary) && share >= LEAST
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
            assert_eq!(extract(&points(&answers)), expected);
        }
    }

    #[test]
    fn a_written_summary_that_says_less_or_turns_in_circles_does_not_stand() {
        let agreed = answers(&[
            ("a", "The tower was built in Paris in 1889. It is green."),
            ("b", "The tower was built in Paris in 1889. It is brown."),
        ]);
        let apart = answers(&[("a", "Use brown bread."), ("b", "Take white flour.")]);
        for (answers, summary, expected) in [
            (&agreed, "Both say: built in Paris, 1889, the tower. They differ on its colour.", true),
            (&agreed, "The answers differ on the colour.", false),
            (&agreed, "Paris 1889. Paris 1889. Paris 1889. Paris 1889. Paris 1889.", false),
            (&agreed, " ", false),
            (&apart, "a wants brown bread, b white flour.", true),
            (&apart, "Bread is food.", false),
        ] {
            assert_eq!(stands_for(summary, &points(answers)), expected, "{summary}");
        }
    }
}
