//! `booster-runner complete`: a file of questions in, their answers out.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

use actionbooster_chassis::Paths;
use actionbooster_llm::{Conversation, Event, Input, Message, Request};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{Config, ModelArguments, sampling_of};

/// Arguments of `complete`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// JSON lines, each `{"id": …, "prompt": …}`.
    #[arg(long)]
    prompts: PathBuf,
    /// Tokens of an answer at most.
    #[arg(long, default_value_t = 256)]
    max_tokens: u32,
}

#[derive(Deserialize)]
struct Question {
    id: serde_json::Value,
    prompt: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a serde_json::Value,
    text: String,
}

/// Answers every question and prints JSON lines `{"id": …, "text": …}`.
pub fn run(arguments: &Arguments) -> Result<()> {
    let config = Config::default();
    let processors = arguments.model.settle(&config)?;
    let (model, wishes) = arguments.model.open(&Paths::from_environment())?;
    let engine = arguments.model.load(&model, &wishes, &config, &processors)?;
    let file = std::fs::File::open(&arguments.prompts)
        .with_context(|| format!("cannot open {}", arguments.prompts.display()))?;
    let mut output = std::io::stdout().lock();
    for line in BufReader::new(file).lines() {
        let question: Question =
            serde_json::from_str(&line?).context("a line is not {\"id\": …, \"prompt\": …}")?;
        let turn = Message::new("user", question.prompt);
        let mut events = engine.ask(Request {
            sampling: sampling_of(&model, &wishes),
            max_tokens: arguments.max_tokens,
            ..Request::new(Input::Chat(Conversation::new(vec![turn])))
        })?;
        let mut text = String::new();
        while let Some(event) = events.blocking_recv() {
            match event {
                Event::Text(more) => text.push_str(&more.text),
                Event::Read(_) | Event::Reasoning(_) | Event::Call(_) => {}
                Event::Finished(_) => break,
                Event::Failed(error) => bail!(error),
            }
        }
        serde_json::to_writer(&mut output, &Answer { id: &question.id, text })?;
        output.write_all(b"\n")?;
    }
    Ok(())
}
