//! Models that the box fetches itself: a file on it, an address, or a name of the catalog.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actionbooster_chassis::{Json, Problem};
use actionbooster_http_client::innermost;
use actionbooster_models::{Incoming, Origin, Upload, Wanted};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::uploads::add_to;
use super::{Failure, ModelLibrary, detectors, off_thread};

/// Imports that are remembered.
const MOST: usize = 64;
/// Bytes gathered before they are written.
const GATHER: usize = 1 << 20;
/// How often a download that breaks is gone on with.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// What is fetched.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// A file on the box that the agent may read.
    Path(PathBuf),
    /// An address.
    Url(String),
    /// A name of the catalog.
    Catalog(String),
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    Running,
    Checking,
    Done,
    Failed,
}

/// An import as clients see it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Import {
    #[serde(rename = "import")]
    number: String,
    source: Source,
    pub(super) state: Stage,
    /// The model it becomes, once that is known.
    pub(super) id: Option<String>,
    pub(super) received_bytes: u64,
    pub(super) size_bytes: Option<u64>,
    pub(super) reason: Option<String>,
}

#[derive(Debug)]
struct Job {
    told: watch::Sender<Import>,
    cancel: CancellationToken,
}

/// All imports since the agent started, newest last.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    jobs: Mutex<BTreeMap<u64, Arc<Job>>>,
}

/// Why an import ends without a model.
enum Failed {
    Reason(String),
    Problem(Problem),
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Imports {
    /// Starts one; it goes on whoever listens.
    pub(super) fn start(&self, library: &ModelLibrary, source: Source) -> watch::Receiver<Import> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let number = jobs.keys().next_back().map_or(1, |last| last + 1);
        while jobs.len() >= MOST {
            jobs.pop_first();
        }
        let import = Import {
            number: format!("i-{number}"),
            source: source.clone(),
            state: Stage::Running,
            id: None,
            received_bytes: 0,
            size_bytes: None,
            reason: None,
        };
        let job = Arc::new(Job {
            told: watch::channel(import).0,
            cancel: library.scheduler.closing().child_token(),
        });
        jobs.insert(number, Arc::clone(&job));
        drop(jobs);
        let receiver = job.told.subscribe();
        let library = library.clone();
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = bring(&library, source, &job) => outcome,
                () = job.cancel.cancelled() => Err(Failed::Reason("cancelled".to_owned())),
            };
            job.told.send_modify(|import| match outcome {
                Ok(id) => {
                    tracing::info!(model = id, "imported");
                    (import.state, import.id) = (Stage::Done, Some(id));
                }
                Err(failed) => {
                    let reason = match failed {
                        Failed::Reason(reason) => reason,
                        Failed::Problem(problem) => problem.detail().to_owned(),
                    };
                    tracing::warn!(reason, "an import failed");
                    (import.state, import.reason) = (Stage::Failed, Some(reason));
                }
            });
        });
        receiver
    }

    fn find(&self, import: &str) -> Result<Arc<Job>, Problem> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let number = import.strip_prefix("i-").and_then(|number| number.parse().ok());
        number.and_then(|number: u64| jobs.get(&number).cloned()).ok_or_else(|| {
            let detail = format!("There is no import {import}; those before the last restart are forgotten.");
            Problem::new(StatusCode::NOT_FOUND, "import-not-found", "There is no such import", detail)
        })
    }
}

/// Brings a model in and returns its id.
async fn bring(library: &ModelLibrary, source: Source, job: &Job) -> Result<String, Failed> {
    let incoming = library.incoming.clone();
    let upload = match source {
        Source::Path(path) => from_file(&incoming, path, job).await?,
        Source::Url(address) => {
            let url = Url::parse(&address).map_err(|error| format!("{address}: {error}"))?;
            let name =
                url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
            let answer = library.shop.http.get(url.clone()).send().await;
            let answer =
                answer.map_err(|error| format!("{address} cannot be reached: {}", innermost(&error)))?;
            if !answer.status().is_success() {
                return Err(format!("{address} answered {}", answer.status()).into());
            }
            let size =
                answer.content_length().ok_or_else(|| format!("{address} does not say how large it is"))?;
            let origin = Origin { validator: validator(answer.headers()), address };
            drop(answer);
            download(library, &incoming, Wanted::new(name, size), origin, job).await?
        }
        Source::Catalog(id) => {
            let entry = library.shop.get(&id).ok_or_else(|| format!("the catalog has no model {id}"))?;
            let (wanted, url) = library.shop.look_up(entry).await?;
            // Its digest is known, or else it comes from the beginning.
            let origin = Origin { address: url, validator: None };
            download(library, &incoming, wanted, origin, job).await?
        }
    };
    job.told.send_modify(|import| import.state = Stage::Checking);
    let (number, own) = (upload.upload.clone(), incoming.clone());
    let finished = off_thread(move || own.finish(&number).map_err(Failure::from)).await;
    match finished {
        Ok(model) => {
            detectors::check(library, &model).await?;
            Ok(model.manifest.id)
        }
        Err(problem) => {
            // It would be refused again: the bytes are all there.
            let _ = off_thread(move || incoming.abandon(&upload.upload).map_err(Failure::from)).await;
            Err(problem.into())
        }
    }
}

/// Begins an upload, or goes on with the one of the same file that a restart left.
async fn begin_or_resume(
    incoming: &Incoming,
    wanted: Wanted,
    origin: Origin,
    job: &Job,
) -> Result<Upload, Failed> {
    let own = incoming.clone();
    let begun = off_thread(move || own.import(&wanted, &origin).map_err(Failure::from)).await?;
    job.told.send_modify(|import| {
        import.id = Some(begun.id.clone());
        import.size_bytes = Some(begun.size_bytes);
        import.received_bytes = begun.received_bytes;
    });
    Ok(begun)
}

async fn from_file(incoming: &Incoming, path: PathBuf, job: &Job) -> Result<Upload, Failed> {
    let told = path.display().to_string();
    // Looked at before it is opened: a pipe would keep a thread for ever.
    let data = tokio::fs::metadata(&path).await.map_err(|error| format!("cannot open {told}: {error}"))?;
    if !data.is_file() {
        return Err(format!("{told} is not a file").into());
    }
    let opened = tokio::fs::File::open(&path).await;
    let mut file = opened.map_err(|error| format!("cannot open {told}: {error}"))?;
    let changed = format!("{} {}.{:09}", data.ino(), data.mtime(), data.mtime_nsec());
    let origin = Origin { address: told.clone(), validator: Some(changed) };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let upload = begin_or_resume(incoming, Wanted::new(name, data.len()), origin, job).await?;
    tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(upload.received_bytes))
        .await
        .map_err(|error| format!("cannot read {told}: {error}"))?;
    let (own, number, offset) = (incoming.clone(), upload.upload.clone(), upload.received_bytes);
    let mut writer = off_thread(move || own.write(&number, offset).map_err(Failure::from)).await?;
    loop {
        let mut buffer = Vec::with_capacity(GATHER);
        let count = (&mut file).take(GATHER as u64).read_to_end(&mut buffer).await;
        if count.map_err(|error| format!("cannot read {told}: {error}"))? == 0 {
            break;
        }
        job.told.send_modify(|import| import.received_bytes += buffer.len() as u64);
        writer = add_to(writer, buffer).await?;
    }
    off_thread(move || writer.close().map_err(Failure::from)).await?;
    Ok(upload)
}

/// Downloads what is wanted; a connection that breaks is gone on with where it broke.
async fn download(
    library: &ModelLibrary,
    incoming: &Incoming,
    wanted: Wanted,
    origin: Origin,
    job: &Job,
) -> Result<Upload, Failed> {
    let mut upload = begin_or_resume(incoming, wanted, origin.clone(), job).await?;
    let mut tries = 0;
    while upload.received_bytes < upload.size_bytes {
        let before = upload.received_bytes;
        let broke = fetch(library, incoming, &upload, &origin, job).await?;
        let (own, number) = (incoming.clone(), upload.upload.clone());
        upload = off_thread(move || own.get(&number).map_err(Failure::from)).await?;
        let Some(reason) = broke else { continue };
        tries = if upload.received_bytes > before { 1 } else { tries + 1 };
        if tries >= TRIES {
            return Err(
                format!("{}: {reason}; import it again to go on where it broke", origin.address).into()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(upload)
}

/// One connection's worth of bytes; why it broke, if it did.
async fn fetch(
    library: &ModelLibrary,
    incoming: &Incoming,
    upload: &Upload,
    origin: &Origin,
    job: &Job,
) -> Result<Option<String>, Failed> {
    let url = origin.address.as_str();
    let offset = upload.received_bytes;
    let mut request = library.shop.http.get(url);
    if offset > 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
        // A file that has changed comes whole then.
        if let Some(validator) = &origin.validator {
            request = request.header(header::IF_RANGE, validator);
        }
    }
    let mut answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return Ok(Some(innermost(&error))),
    };
    match answer.status() {
        StatusCode::PARTIAL_CONTENT if offset > 0 && continues(answer.headers(), upload) => {}
        StatusCode::OK if offset == 0 => {}
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
            let (own, number) = (incoming.clone(), upload.upload.clone());
            off_thread(move || own.abandon(&number).map_err(Failure::from)).await?;
            let reason =
                "it has changed, or cannot be gone on with in the middle; import it again from the beginning";
            return Err(format!("{url}: {reason}").into());
        }
        status if status.is_server_error() => return Ok(Some(format!("it answered {status}"))),
        status => return Err(format!("{url} answered {status}").into()),
    }
    let (own, number) = (incoming.clone(), upload.upload.clone());
    let mut writer = off_thread(move || own.write(&number, offset).map_err(Failure::from)).await?;
    let mut gathered = Vec::with_capacity(GATHER);
    let broke = loop {
        match answer.chunk().await {
            Ok(Some(bytes)) => gathered.extend_from_slice(&bytes),
            Ok(None) => break None,
            Err(error) => break Some(innermost(&error)),
        }
        if gathered.len() >= GATHER {
            job.told.send_modify(|import| import.received_bytes += gathered.len() as u64);
            writer = add_to(writer, std::mem::take(&mut gathered)).await?;
        }
    };
    job.told.send_modify(|import| import.received_bytes += gathered.len() as u64);
    let writer = add_to(writer, gathered).await?;
    off_thread(move || writer.close().map_err(Failure::from)).await?;
    Ok(broke)
}

/// What tells a file from another one at the same address (RFC 9110, 8.8): its entity tag unless that is a weak one,
/// else when it was changed.
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    text(header::ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(header::LAST_MODIFIED))
}

/// Whether a part begins where the upload ends, and is of a file of its size (RFC 9110, 14.4).
fn continues(headers: &HeaderMap, upload: &Upload) -> bool {
    let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let parts = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('/'));
    parts.is_some_and(|(bytes, size)| {
        let first = bytes.split_once('-').and_then(|(first, _)| first.parse::<u64>().ok());
        first == Some(upload.received_bytes) && (size == "*" || size.parse() == Ok(upload.size_bytes))
    })
}

/// `POST /api/v1/models/import`.
pub(crate) async fn begin(
    State(library): State<ModelLibrary>,
    Json(source): Json<Source>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    if let Source::Catalog(id) = &source
        && library.shop.get(id).is_none()
    {
        let detail =
            format!("The catalog has no model {id}; GET /api/v1/models/catalog lists what there is.");
        return Err(Problem::new(StatusCode::NOT_FOUND, "model_not_found", "There is no such model", detail));
    }
    let started = library.imports.start(&library, source);
    let told = started.borrow().clone();
    Ok((StatusCode::ACCEPTED, Json(json!(told))))
}

/// `GET /api/v1/models/imports`.
pub(crate) async fn list(State(library): State<ModelLibrary>) -> Result<Json<Value>, Problem> {
    let jobs = library.imports.jobs.lock().unwrap_or_else(PoisonError::into_inner);
    let told: Vec<Import> = jobs.values().map(|job| job.told.borrow().clone()).collect();
    Ok(Json(json!({"imports": told})))
}

/// `GET /api/v1/models/imports/{import}`.
pub(crate) async fn show(
    State(library): State<ModelLibrary>,
    Path(import): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = library.imports.find(&import)?;
    let told = job.told.borrow().clone();
    Ok(Json(json!(told)))
}

/// `DELETE /api/v1/models/imports/{import}`: what came so far stays and can be gone on with.
pub(crate) async fn cancel(
    State(library): State<ModelLibrary>,
    Path(import): Path<String>,
) -> Result<StatusCode, Problem> {
    library.imports.find(&import)?.cancel.cancel();
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_part_is_taken_only_where_it_continues_the_same_file() {
        let upload = Upload { upload: "u-1".into(), id: "m".into(), size_bytes: 100, received_bytes: 40 };
        let cases = [
            (Some("bytes 40-99/100"), true),
            (Some("bytes 40-59/*"), true),
            (Some("bytes 0-99/100"), false),
            (Some("bytes 40-119/120"), false),
            (Some("40-99/100"), false),
            (Some("bytes */100"), false),
            (None, false),
        ];
        for (range, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(range) = range {
                headers.insert(header::CONTENT_RANGE, HeaderValue::from_static(range));
            }
            assert_eq!(continues(&headers, &upload), expected, "{range:?}");
        }
    }

    #[test]
    fn a_weak_tag_proves_nothing() {
        let date = "Sat, 28 Nov 2026 06:00:00 GMT";
        let cases = [
            (Some("\"a\""), None, Some("\"a\"")),
            (Some("W/\"a\""), None, None),
            (Some("W/\"a\""), Some(date), Some(date)),
            (None, None, None),
        ];
        for (tag, changed, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::ETAG, tag), (header::LAST_MODIFIED, changed)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            let sent = (tag, changed);
            assert_eq!(validator(&headers).as_deref(), expected, "{sent:?}");
        }
    }
}
