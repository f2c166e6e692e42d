//! Makes one picture or clip: chooses the workflow, has it executed, keeps what came of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::assets::{Asset, Content, Kind};
use super::super::comfy::{Comfy, ComfyError};
use super::super::error::GenerationError;
use super::super::off_thread;
use super::super::workflows::{Choice, Library, Made, choose, roomiest};
use super::job::{Job, Stopped};
use super::media::{Media, tell};
use super::request::{Picture, Source};
use crate::Gateway;

/// Looks at the memory after the server was asked to free some, and the pause between them.
const LOOKS: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(400);
/// Bytes of all files of one generation; each file by itself is bounded by the client.
const MOST_BYTES: usize = 192 << 20;

impl From<ComfyError> for Stopped {
    fn from(error: ComfyError) -> Self {
        match error {
            ComfyError::Cancelled => Self::Cancelled,
            error => Self::Failed(sentence(&error.to_string())),
        }
    }
}

/// Makes it, keeps it, adds it to the job. `span` is its part of the job's progress.
pub(super) async fn make(
    gateway: &Gateway,
    job: &Job,
    picture: Picture,
    span: (f64, f64),
) -> Result<Asset, Stopped> {
    let comfy = gateway.generations.comfy.as_ref();
    let comfy = comfy.ok_or_else(|| Stopped::Failed("No ComfyUI server is set.".into()))?;
    let prepared = job.cancel.run_until_cancelled(prepare(gateway, job, comfy, picture)).await;
    let (choice, graph, parameters, made) = prepared.unwrap_or(Err(Stopped::Cancelled))?;
    if let Some(reason) = &choice.reason {
        job.remark(format!("{reason}."));
    }
    let share = |done: f64| span.0 + (span.1 - span.0) * done;
    let report = |step: &str, done: f64| job.report(step, share(done));
    let outputs = comfy.run(&graph, &job.cancel, &report).await?;
    job.report("fetching", share(0.95));
    let fetched = job.cancel.run_until_cancelled(fetch(comfy, &outputs)).await;
    let files = fetched.unwrap_or(Err(Stopped::Cancelled))?;
    let asset = keep(gateway, job, made, parameters, files).await?;
    job.add(&asset);
    job.report("kept", share(1.0));
    Ok(asset)
}

type Prepared = (Choice, Value, Map<String, Value>, Made);

/// Everything before the server begins.
async fn prepare(gateway: &Gateway, job: &Job, comfy: &Comfy, picture: Picture) -> Result<Prepared, Stopped> {
    job.report("choosing the workflow", 0.0);
    let library = gateway.generations.library().await;
    let choice = choice(comfy, &library, &picture).await?;
    let defaults = &choice.workflow.defaults;
    picture.values.check(defaults).map_err(|(_, detail)| Stopped::Failed(detail))?;
    let image = match picture.image {
        Some(source) => Some(upload(gateway, job, comfy, source).await?),
        None => None,
    };
    let name = image.as_ref().map(|(_, name)| name.as_str());
    let (graph, mut parameters) = choice.workflow.fill(&picture.values, &choice.checkpoint, name);
    if let Some((id, _)) = image {
        // Its name on the server says nothing later.
        parameters.insert("image".into(), json!(id));
    }
    // Named as in the request, so that the same request can be sent again.
    let model = parameters.remove("checkpoint");
    parameters.insert("model".into(), model.unwrap_or_default());
    parameters.insert("workflow".into(), json!(choice.workflow.name));
    parameters.insert("backend".into(), json!(comfy.address()));
    parameters.insert("reason".into(), json!(choice.reason));
    Ok((choice, graph, parameters, picture.made))
}

/// The workflow to use. A server that only keeps earlier models in memory is asked to let go of them.
async fn choice(comfy: &Comfy, library: &Library, picture: &Picture) -> Result<Choice, Stopped> {
    let what = (picture.made, picture.image.is_some());
    let checkpoints = comfy.checkpoints().await?;
    let mut memory = comfy.memory().await?;
    if let Some(now) = memory
        && let Some(needs) = roomiest(library, what, &picture.selection, &checkpoints, now.total_bytes)
        && now.free_bytes < needs
        && comfy.free_memory().await?
    {
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK_PAUSE).await;
            memory = comfy.memory().await?;
            if memory.is_none_or(|memory| memory.free_bytes >= needs) {
                break;
            }
        }
    }
    let free = memory.map(|memory| memory.free_bytes);
    choose(library, what, &picture.selection, &checkpoints, free)
        .map_err(|reason| Stopped::Failed(format!("{} cannot make this: {reason}.", comfy.address())))
}

/// Gives the server the image to begin with. Returns its asset and its name on the server.
async fn upload(
    gateway: &Gateway,
    job: &Job,
    comfy: &Comfy,
    source: Source,
) -> Result<(String, String), Stopped> {
    let (id, bytes) = match source {
        Source::Given(bytes) => {
            let parameters = json!({"source": "given with a request"});
            let id =
                keep(gateway, job, Made::Image, as_map(parameters), vec![(known(&bytes)?, bytes.clone())])
                    .await?
                    .id;
            (id, bytes)
        }
        Source::Asset(id) => {
            let (assets, principal, wanted) =
                (Arc::clone(&gateway.assets), job.principal.clone(), id.clone());
            let found = off_thread(move || assets.file(&principal, &wanted, None)).await;
            let (path, _) = found.map_err(|error| failed(&error))?;
            let bytes = tokio::fs::read(&path).await;
            (id, bytes.map_err(|error| Stopped::Failed(format!("The image cannot be read: {error}.")))?)
        }
    };
    let media = known(&bytes)?;
    if media.kind != Kind::Image {
        return Err(Stopped::Failed(format!("{id} is not an image; give the id of one.")));
    }
    let name = comfy.upload(bytes, media.ending, media.mime).await?;
    Ok((id, name))
}

async fn fetch(
    comfy: &Comfy,
    outputs: &[super::super::comfy::Output],
) -> Result<Vec<(Media, Vec<u8>)>, Stopped> {
    let (mut files, mut total) = (Vec::new(), 0);
    for output in outputs {
        let bytes = comfy.fetch(output).await?;
        total += bytes.len();
        if total > MOST_BYTES {
            let address = comfy.address();
            return Err(Stopped::Failed(format!(
                "The files from {address} have more than {MOST_BYTES} bytes together; ask for less."
            )));
        }
        files.push((known(&bytes)?, bytes));
    }
    Ok(files)
}

async fn keep(
    gateway: &Gateway,
    job: &Job,
    made: Made,
    parameters: Map<String, Value>,
    files: Vec<(Media, Vec<u8>)>,
) -> Result<Asset, Stopped> {
    let kind = match made {
        Made::Image => Kind::Image,
        Made::Video => Kind::Video,
    };
    let (assets, principal) = (Arc::clone(&gateway.assets), job.principal.clone());
    let kept = off_thread(move || {
        let contents: Vec<Content<'_>> = files
            .iter()
            .map(|(media, bytes)| Content { ending: media.ending, media_type: media.mime, bytes })
            .collect();
        assets.keep(&principal, kind, Value::Object(parameters), &contents)
    });
    kept.await.map_err(|error| failed(&error))
}

fn known(bytes: &[u8]) -> Result<Media, Stopped> {
    tell(bytes).ok_or_else(|| {
        Stopped::Failed(
            "A file is neither an image nor a video that browsers show; change the workflow.".into(),
        )
    })
}

fn as_map(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

/// With a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(rest).chain(['.']).collect()
}

pub(super) fn failed(error: &GenerationError) -> Stopped {
    if error.is_internal() {
        tracing::error!(cause = %error, "request failed");
        return Stopped::Failed("The reason is in the box's journal under this request id.".into());
    }
    Stopped::Failed(error.to_string())
}
