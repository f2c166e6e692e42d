//! `boosterctl ask`.

use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value, json};

use crate::client::{Client, Daemon};
use crate::sse::{Event, Parser};
use crate::table::{cell, plain};

const PATH: &str = "/query";

/// Asks models. Fails when none of them answers.
pub async fn ask(
    client: &Client,
    prompt: &str,
    models: &[String],
    max_tokens: Option<u32>,
    json: bool,
) -> Result<ExitCode> {
    let mut body = Map::new();
    body.insert("prompt".into(), question(prompt)?.into());
    if !models.is_empty() {
        body.insert("models".into(), json!(models));
    }
    if let Some(max_tokens) = max_tokens {
        body.insert("max_tokens".into(), max_tokens.into());
    }
    if json {
        let answer = client.post(Daemon::Agent, PATH, &Value::Object(body)).await?;
        println!("{answer:#}");
        let answers = answer["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
        return Ok(outcome(answers.iter().any(|answer| answer["error"].is_null())));
    }
    body.insert("stream".into(), true.into());
    let mut answer = client.stream(Daemon::Agent, PATH, Some(&Value::Object(body))).await?;
    let mut parser = Parser::default();
    let mut page = Page::default();
    let mut output = std::io::stdout().lock();
    while let Some(bytes) = answer.next().await? {
        for event in parser.push(&bytes) {
            output.write_all(page.show(&event)?.as_bytes())?;
            output.flush()?;
        }
    }
    if !page.done {
        return Err(anyhow!("the answer broke off; ask again"));
    }
    Ok(outcome(page.answered))
}

fn question(prompt: &str) -> Result<String> {
    if prompt != "-" {
        return Ok(prompt.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    Ok(text)
}

fn outcome(answered: bool) -> ExitCode {
    if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a terminal shows of a query. One model's words appear as they come; of several models each
/// answer appears when it is whole, and then the summary as it comes.
#[derive(Default)]
struct Page {
    several: bool,
    /// The text that is being written word by word.
    open: Option<Part>,
    answered: bool,
    done: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Answer,
    Summary,
}

impl Page {
    fn show(&mut self, event: &Event) -> Result<String> {
        let data: Value =
            serde_json::from_str(&event.data).context("the box sent something that is not JSON")?;
        let text = plain(&cell(&data["text"]));
        Ok(match event.name.as_str() {
            "start" => {
                self.several = data["models"].as_array().is_some_and(|models| models.len() > 1);
                String::new()
            }
            "token" if !self.several => {
                self.open = Some(Part::Answer);
                text
            }
            "answer" => self.answer(&data, &text),
            "summary_token" if self.several => self.summary_token(&text),
            "summary" if self.several => match self.open.take() {
                Some(Part::Summary) => "\n".into(),
                _ if text.is_empty() => String::new(),
                _ => format!("summary\n{text}\n"),
            },
            "done" => {
                self.done = true;
                String::new()
            }
            "error" => return Err(anyhow!("{}", cell(&data["detail"]))),
            _ => String::new(),
        })
    }

    fn summary_token(&mut self, text: &str) -> String {
        match self.open.replace(Part::Summary) {
            Some(Part::Summary) => text.to_owned(),
            _ => format!("summary\n{text}"),
        }
    }

    fn answer(&mut self, data: &Value, text: &str) -> String {
        let model = plain(&cell(&data["model"]));
        let error = plain(&cell(&data["error"]));
        let failed = !data["error"].is_null();
        self.answered |= !failed;
        let begun = self.open.take().is_some();
        match (self.several, failed) {
            (true, false) => format!("{model}\n{}\n\n", text.trim_end()),
            (true, true) => format!("{model}\n(no answer: {error})\n\n"),
            (false, true) => format!("{}(no answer: {error})\n", if begun { "\n" } else { "" }),
            // The words are on the screen already.
            (false, false) if begun => "\n".into(),
            (false, false) => format!("{text}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(events: &[(&str, Value)]) -> (String, Page) {
        let mut page = Page::default();
        let mut text = String::new();
        for (name, data) in events {
            let event = Event { name: (*name).into(), data: data.to_string() };
            text.push_str(&page.show(&event).expect("shown"));
        }
        (text, page)
    }

    #[test]
    fn one_models_words_appear_once() {
        let (text, page) = shown(&[
            ("start", json!({"id": "q", "models": ["a"]})),
            ("token", json!({"model": "a", "text": "Hel"})),
            ("token", json!({"model": "a", "text": "lo\u{1b}[2J"})),
            ("answer", json!({"model": "a", "text": "Hello", "error": null})),
            ("summary", json!({"text": "Hello", "model": null, "method": "single"})),
            ("done", json!({})),
        ]);
        assert_eq!(text, "Hello [2J\n");
        assert!(page.done && page.answered);
    }

    #[test]
    fn several_models_answer_one_after_the_other_and_then_the_summary() {
        let (text, page) = shown(&[
            ("start", json!({"id": "q", "models": ["a", "b"]})),
            ("token", json!({"model": "b", "text": "Y"})),
            ("token", json!({"model": "a", "text": "N"})),
            ("answer", json!({"model": "b", "text": "Yes\n", "error": null})),
            ("answer", json!({"model": "a", "text": "", "error": "it does not fit"})),
            ("summary_token", json!({"text": "Ye"})),
            ("summary_token", json!({"text": "s."})),
            ("summary", json!({"text": "Yes.", "model": "b", "method": "model"})),
            ("done", json!({})),
        ]);
        assert_eq!(text, "b\nYes\n\na\n(no answer: it does not fit)\n\nsummary\nYes.\n");
        assert!(page.answered);
    }

    #[test]
    fn a_query_that_nobody_answers_is_no_success() {
        let (text, page) = shown(&[
            ("start", json!({"id": "q", "models": ["a"]})),
            ("answer", json!({"model": "a", "text": "", "error": "the runner died"})),
            ("done", json!({})),
        ]);
        assert_eq!(text, "(no answer: the runner died)\n");
        assert!(!page.answered);
    }
}
