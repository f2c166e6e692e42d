//! Which answers a summary is made of, and why the others are left out.

use std::collections::BTreeMap;

use actionbooster_models::Role;
use actionbooster_scheduler::Listing;
use serde::Serialize;

use super::summary::Answered;

/// A whole answer that is longer than this says something, however it begins.
const LONGEST_REFUSAL: usize = 300;
/// How models say that they do not know or will not say, at the beginning of an answer, in lower case.
const REFUSALS: &[&str] = &[
    "i do not know",
    "i don't know",
    "i don’t know",
    "i am not sure",
    "i'm not sure",
    "i'm sorry, but i",
    "i am sorry, but i",
    "sorry, i",
    "i cannot",
    "i can't",
    "i can’t",
    "i am unable",
    "i'm unable",
    "as an ai",
    "no lo sé",
    "no sé",
    "eso no lo sé",
    "no estoy segur",
    "lo siento, pero no",
    "no puedo",
    "como modelo de lenguaje",
    "como una ia",
];
/// A piece of text that comes so often in a row is a loop.
const LOOP: usize = 4;
/// So many characters at the end that repeat a shorter piece are a loop too.
const LONGEST_RUN: usize = 64;
/// The longest piece that is looked for, in words.
const LONGEST_PIECE: usize = 40;

/// Why an answer is no part of the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reason {
    /// The model failed or was stopped.
    Failed,
    /// It says that it does not know, or will not say.
    Declined,
    /// It said nothing.
    Empty,
    /// It repeats itself without end.
    Loops,
}

/// An answer that is no part of the summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct LeftOut {
    pub(super) model: String,
    pub(super) reason: Reason,
}

/// The answers of a summary, those left out, and what models say when they do not know.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// By model, word for word, as their manifests tell.
    declines: BTreeMap<String, Vec<String>>,
    pub(super) answers: Vec<Answered>,
    pub(super) left_out: Vec<LeftOut>,
    /// The text of the first one that declined.
    pub(super) declined: Option<Answered>,
}

impl Selection {
    /// For the models of a store.
    pub(super) fn of(listing: &Listing) -> Self {
        let declines = |(id, model): (&String, &actionbooster_models::Model)| {
            (id.clone(), model.manifest.declines.clone())
        };
        Self { declines: listing.models.iter().map(declines).collect(), ..Self::default() }
    }

    /// Takes an answer that has ended.
    pub(super) fn take(&mut self, answer: Answered, failed: bool) {
        let reason = if failed { Some(Reason::Failed) } else { self.reason(&answer) };
        let Some(reason) = reason else { return self.answers.push(answer) };
        self.left_out.push(LeftOut { model: answer.model.clone(), reason });
        if reason == Reason::Declined && self.declined.is_none() {
            self.declined = Some(answer);
        }
    }

    /// The answers in the order in which their models were named, not of the models' speed: the summary is the same
    /// each time.
    pub(super) fn sort_by(&mut self, place: impl Fn(&str) -> Option<usize>) {
        self.answers.sort_by_key(|answer| place(&answer.model));
        self.left_out.sort_by_key(|left_out| place(&left_out.model));
    }

    /// The answer of the manual of this box, where it has one: it declines whatever is about something else.
    pub(super) fn manual(&self) -> Option<&Answered> {
        self.answers.iter().find(|answer| answer.role == Some(Role::Guide))
    }

    fn reason(&self, answer: &Answered) -> Option<Reason> {
        let text = answer.text.trim();
        if text.is_empty() {
            return Some(Reason::Empty);
        }
        let own = self.declines.get(&answer.model).map(Vec::as_slice).unwrap_or_default();
        if own.iter().any(|decline| decline == text) || is_refusal(text) {
            return Some(Reason::Declined);
        }
        loops(text).then_some(Reason::Loops)
    }
}

/// Whether a whole answer is no more than a refusal.
fn is_refusal(text: &str) -> bool {
    let begins = |text: &str| {
        let text = text.to_lowercase();
        REFUSALS.iter().any(|refusal| text.starts_with(refusal))
    };
    text.len() <= LONGEST_REFUSAL && begins(text)
}

/// Whether a text ends in the same words again and again, or in one word of the same letters again and again.
pub(super) fn loops(text: &str) -> bool {
    repeats_words(text) || repeats_letters(text)
}

fn repeats_letters(text: &str) -> bool {
    let tail: Vec<char> = text.trim_end().chars().rev().take(LONGEST_RUN).collect();
    let says = tail.iter().any(|character| character.is_alphanumeric());
    says && tail.len() == LONGEST_RUN
        && (1..=LONGEST_RUN / LOOP).any(|length| (length..tail.len()).all(|at| tail[at] == tail[at - length]))
}

fn repeats_words(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    // The last piece may be cut off anywhere, so the repetition is looked for in what came before.
    (1..=LONGEST_PIECE.min(words.len() / LOOP)).any(|length| {
        (0..length).any(|cut| {
            let Some(end) = words.len().checked_sub(cut).filter(|end| *end >= LOOP * length) else {
                return false;
            };
            let last = &words[end - length..end];
            // Rows of one mark, as in tables and rulers, are no loop.
            let says = last.iter().any(|word| word.chars().any(char::is_alphanumeric));
            says && (1..LOOP).all(|back| &words[end - (back + 1) * length..end - back * length] == last)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(model: &str, text: &str) -> Answered {
        Answered { model: model.into(), role: None, text: text.into() }
    }

    #[test]
    fn refusals_failures_and_loops_are_left_out_and_named() {
        let own = "Eso no es cosa mía: pregunta por esta caja.";
        let mut selection = Selection {
            declines: [("guide".to_owned(), vec![own.to_owned()])].into(),
            ..Selection::default()
        };
        let long = format!("I can't stress enough how {}", "much this and that matters ".repeat(2).repeat(6));
        for (model, text, failed) in [
            ("a", "It rains.", false),
            ("b", "half an ans", true),
            ("c", "I'm sorry, but I cannot help with that.", false),
            ("d", " \n", false),
            ("e", "Well: no no no no no no", false),
            ("guide", own, false),
            ("f", "No sé qué decir de eso.", false),
            ("g", "Nobody knows, but I do not know why.", false),
        ] {
            selection.take(answered(model, text), failed);
        }
        assert!(loops(&long) && !is_refusal(&long), "what is long is no refusal");
        selection.sort_by(|model| ["g", "a"].iter().position(|id| *id == model));
        let kept: Vec<&str> = selection.answers.iter().map(|answer| answer.model.as_str()).collect();
        assert_eq!(kept, ["g", "a"]);
        let left_out: Vec<(&str, Reason)> =
            selection.left_out.iter().map(|left_out| (left_out.model.as_str(), left_out.reason)).collect();
        assert_eq!(
            left_out,
            [
                ("b", Reason::Failed),
                ("c", Reason::Declined),
                ("d", Reason::Empty),
                ("e", Reason::Loops),
                ("guide", Reason::Declined),
                ("f", Reason::Declined),
            ]
        );
        assert_eq!(selection.declined.expect("one").model, "c");
    }

    #[test]
    fn a_text_that_repeats_itself_without_end_is_found_wherever_it_is_cut() {
        for (text, expected) in [
            ("The answer is four. The answer is four. The answer is four. The answer is four.", true),
            (
                "So: the answer is four. The answer is four. The answer is four. The answer is four. The ans",
                true,
            ),
            ("one two three four five six seven eight nine ten eleven twelve", false),
            ("very very very good", false),
            ("a b a b a b a b a b", true),
            ("| - | - | - | - | - |", false),
            ("So it is: IIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIII", true),
            ("abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabca", true),
            ("Aaaaaaaaaaaah!", false),
            ("----------------------------------------------------------------------------------", false),
            ("", false),
        ] {
            assert_eq!(loops(text), expected, "{text}");
        }
    }
}
