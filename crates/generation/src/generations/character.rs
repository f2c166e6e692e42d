//! A character: who it is, written by a language model; then a portrait; then a short clip of it.
//!
//! What was made before something failed is kept and told.

use super::super::text::TextRequest;
use super::super::workflows::Made;
use super::job::{Job, Stopped};
use super::picture;
use super::picture::failed;
use super::request::{Character, Source};
use crate::Gateway;

const WRITER: &str = "You invent characters. From a short description write who the character is: name, age, \
                      look, temper, history, and how it speaks. Write in the language of the description, in \
                      at most 200 words.";
const PAINTER: &str = "You write prompts for an image model. Say in English, in at most 40 words separated by \
                       commas, how this character looks: face, hair, clothes, light. Write only these words.";
const TOKENS: (u32, u32) = (400, 80);
/// Characters of the model's words that go into a prompt; image models read about as many.
const MOST_LOOK: usize = 300;
/// Parts of the progress after text, portrait and clip.
const SPANS: [f64; 3] = [0.1, 0.45, 1.0];

pub(super) async fn make(gateway: &Gateway, job: &Job, character: Character) -> Result<(), Stopped> {
    let Character { description, model, mut portrait, mut clip } = character;
    let seed = portrait.values.seed;
    job.report("writing", 0.0);
    let writing = write(gateway, job, &description, model.as_deref(), seed);
    let look = job.cancel.run_until_cancelled(writing).await.unwrap_or(Err(Stopped::Cancelled))?;
    job.report("painting the portrait", SPANS[0]);

    portrait.values.prompt = format!("portrait of {description}, {look}");
    let painted = picture::make(gateway, job, portrait, (SPANS[0], SPANS[1])).await;
    let painted = painted.map_err(|stopped| after("The text is kept, but the portrait failed.", stopped))?;

    job.report("making the clip", SPANS[1]);
    clip.values.prompt = format!("{description}, {look}, moving, looking at the camera");
    // From the portrait when a workflow can, so that it is the same face.
    let library = gateway.generations.library().await;
    if !library.that_make(Made::Video, true).is_empty() {
        clip.image = Some(Source::Asset(painted.id));
    }
    picture::make(gateway, job, clip, (SPANS[1], SPANS[2]))
        .await
        .map(drop)
        .map_err(|stopped| after("The text and the portrait are kept, but the clip failed.", stopped))
}

/// Writes who it is, keeps it, and returns in a few words how it looks.
async fn write(
    gateway: &Gateway,
    job: &Job,
    description: &str,
    model: Option<&str>,
    seed: u64,
) -> Result<String, Stopped> {
    // The language models take smaller seeds.
    let seed = (seed % (1 << 32)) as u32;
    let ask = async |prompt: &str, system: &str, tokens| {
        let request = TextRequest::asking(prompt, system, model, tokens, seed);
        let written = gateway.write_and_keep(&*gateway.models, &job.principal, &request).await;
        written.map_err(|error| after("The text failed.", failed(&error)))
    };
    let who = ask(description, WRITER, TOKENS.0).await?;
    job.add(&who.asset);
    job.report("describing the portrait", SPANS[0] / 2.0);
    let who = who.answer.text;
    let look = ask(&format!("{description}\n\n{who}"), PAINTER, TOKENS.1).await?;
    job.add(&look.asset);
    let look = look.answer.text;
    let words: Vec<&str> = look.split_whitespace().collect();
    Ok(words.join(" ").chars().take(MOST_LOOK).collect())
}

fn after(kept: &str, stopped: Stopped) -> Stopped {
    match stopped {
        Stopped::Cancelled => Stopped::Cancelled,
        Stopped::Failed(reason) => Stopped::Failed(format!("{kept} {reason}")),
    }
}
