//! The guide, loaded, and answers in one piece.

use std::path::{Path, PathBuf};
use std::time::Duration;

use actionbooster_llm::{
    Conversation, Engine, Error, Event, Finished, Input, Options, Request, TokenLogprob,
};
use tokio::sync::mpsc::Receiver;

/// How long an answer may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);
/// The tokens with which the guide ends an answer or begins a turn.
pub const SPECIAL: [i32; 3] = [0, 1, 2];

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub text: String,
    pub reasoning: String,
    pub logprobs: Vec<TokenLogprob>,
    pub finished: Finished,
}

/// The guide with these options, on one thread so that numbers do not depend on the machine.
pub fn guide(options: Options) -> Engine {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/guide/guide.gguf");
    let options = Options { threads: 1, backends: Some(backends()), ..options };
    Engine::load(Path::new(model), options).expect("the guide loads")
}

/// The same model with a template that opens thoughts, as those of models that reason do.
pub fn thinker(folder: &Path, options: Options) -> Engine {
    const KEY: &[u8] = b"tokenizer.chat_template";
    const OPEN: &str = "<think>";
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/guide/guide.gguf");
    let mut bytes = std::fs::read(guide).expect("the guide");
    let key = bytes.windows(KEY.len()).position(|window| window == KEY).expect("a template") + KEY.len();
    // The type of the value, then its length and text (GGUF specification).
    let (length, text) = (key + 4, key + 12);
    let old = u64::from_le_bytes(bytes[length..text].try_into().expect("length"));
    // What follows stays aligned to 32 bytes.
    let comment = "{# </think>";
    let added = format!("{comment}{}#}}{OPEN}", " ".repeat(32 - comment.len() - 2 - OPEN.len()));
    assert_eq!(added.len(), 32);
    bytes[length..text].copy_from_slice(&(old + 32).to_le_bytes());
    let end = text + usize::try_from(old).expect("fits");
    bytes.splice(end..end, added.bytes());
    let file = folder.join("thinker.gguf");
    std::fs::write(&file, bytes).expect("written");
    let options = Options { threads: 1, backends: Some(backends()), ..options };
    Engine::load(&file, options).expect("it loads")
}

/// The CPU variants that were built with this test.
fn backends() -> PathBuf {
    let program = std::env::current_exe().expect("program");
    let release = program.ancestors().nth(2).expect("target folder");
    let build = std::fs::read_dir(release.join("build")).expect("build folder");
    let folders = build.filter_map(Result::ok).map(|entry| entry.path().join("out/backends"));
    let newest = folders
        .filter(|folder| folder.is_dir())
        .max_by_key(|folder| folder.metadata().and_then(|data| data.modified()).ok());
    newest.expect("llama.cpp was built with this test")
}

/// A greedy question, as the guide is used.
pub fn question(text: &str) -> Request {
    let turn = actionbooster_llm::Message::new("user", text);
    Request { max_tokens: 60, ..Request::new(Input::Chat(Conversation::new(vec![turn]))) }
}

/// A prompt that is read as it is.
pub fn prompt(text: &str, max_tokens: u32) -> Request {
    Request { max_tokens, ..Request::new(Input::Prompt(text.into())) }
}

/// Waits for the end of an answer.
pub fn whole(mut events: Receiver<Event>) -> Result<Answer, Error> {
    wait(async {
        let (mut text, mut reasoning, mut logprobs) = (String::new(), String::new(), Vec::new());
        loop {
            match events.recv().await.expect("an answer has an end") {
                Event::Text(more) => {
                    text.push_str(&more.text);
                    logprobs.extend(more.logprobs);
                }
                Event::Reasoning(more) => reasoning.push_str(&more),
                Event::Read(_) | Event::Call(_) => {}
                Event::Finished(finished) => return Ok(Answer { text, reasoning, logprobs, finished }),
                Event::Failed(error) => return Err(error),
            }
        }
    })
}

/// Asks and waits.
pub fn ask(engine: &Engine, request: Request) -> Answer {
    whole(engine.ask(request).expect("asked")).expect("answered")
}

/// Runs a future to its end, which comes soon.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("in time") })
}
