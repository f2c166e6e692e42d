//! Files of sessions: one line of JSON for each picture while it lasts, one JSON document when it has ended.
//!
//! `<session>.jsonl` grows by whole lines and is made into `<session>.json` by a rename, so that every `.json`
//! there is whole. Lines that a killed worker left are made into documents when it starts again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actionbooster_chassis::health::{Health, Status};
use actionbooster_storage::{Space, Usage, measure};
use actionbooster_wire::ai::v1 as ai;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

const OPEN: &str = "jsonl";
const DONE: &str = "json";
/// What it is called under `/health`.
const COMPONENT: &str = "records";
/// Files of a session: its lines, and the document that they become.
const FILES: u64 = 2;
/// One session may take this part of what all may.
const SESSION_SHARE: u64 = 4;
/// All that are open together may take this part of it.
const OPEN_SHARE: u64 = 2;
/// An open session claims this part of it at a time.
const CLAIM_SHARE: u64 = 64;
/// Documents that are kept at most, however small they are.
const MOST_DOCUMENTS: usize = 10_000;
/// A first picture that was taken longer before its session is one of a wrong clock.
const LONGEST_WAIT_MS: i64 = 600_000;

/// Where files of sessions are.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    folder: PathBuf,
    /// Bytes that they may take together.
    most_bytes: u64,
    most_documents: usize,
    /// Bytes of it that open sessions have claimed.
    claimed: Arc<AtomicU64>,
    health: Health,
}

/// The file of an open session. It becomes a document when it is closed or dropped.
#[derive(Debug)]
pub(crate) struct Record {
    records: Records,
    path: PathBuf,
    file: File,
    /// Bytes that it takes, and that it has claimed.
    written: u64,
    claimed: u64,
    is_closed: bool,
}

impl Records {
    /// Makes documents of what an earlier worker left.
    pub(crate) fn open(folder: PathBuf, most_bytes: u64, health: Health) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        for entry in fs::read_dir(&folder)?.filter_map(Result::ok) {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == OPEN)
                && let Err(error) = finish(&path, "the worker ended")
            {
                tracing::warn!("{} could not be closed: {error}", path.display());
            }
        }
        let claimed = Arc::default();
        Ok(Self { folder, most_bytes, most_documents: MOST_DOCUMENTS, claimed, health })
    }

    /// Begins the file of a session.
    pub(crate) fn begin(&self, name: &str, client: &str, model: &str) -> io::Result<Record> {
        let begun = self.try_begin(name, client, model);
        match &begun {
            Ok(_) => self.health.set(COMPONENT, Status::Ok, ""),
            Err(error) => lament(&self.health, error),
        }
        begun
    }

    fn try_begin(&self, name: &str, client: &str, model: &str) -> io::Result<Record> {
        Space::of(&self.folder)?.room_for(1, FILES)?;
        let path = self.folder.join(format!("{name}.{OPEN}"));
        let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        let records = self.clone();
        let mut record = Record { records, path, file, written: 0, claimed: 0, is_closed: false };
        let head = json!({"session": name, "client": client, "model": model, "began": Timestamp::now()});
        if let Err(error) = record.line(&head) {
            record.is_closed = true;
            fs::remove_file(&record.path)?;
            return Err(error);
        }
        Ok(record)
    }

    /// Claims bytes for an open session; the oldest documents go for them.
    fn claim(&self, bytes: u64) -> io::Result<()> {
        let most = self.most_bytes / OPEN_SHARE;
        let claim = |claimed: u64| claimed.checked_add(bytes).filter(|claimed| *claimed <= most);
        self.claimed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim)
            .map_err(|_| io::Error::other("the open sessions are as long as they may be together"))?;
        self.make_room()
    }

    /// Bytes and files of all sessions. Blocks, until `deadline`.
    pub(crate) fn usage(&self, deadline: Instant) -> Usage {
        measure(&self.folder, deadline)
    }

    /// Removes the documents of all sessions that have ended, and gives how many went. Blocks.
    pub(crate) fn clear(&self) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.folder)?.filter_map(Result::ok) {
            if entry.path().extension().is_some_and(|extension| extension == DONE) {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes the oldest documents until the rest fits beside what is open.
    fn make_room(&self) -> io::Result<()> {
        let mut documents = Vec::new();
        for entry in fs::read_dir(&self.folder)?.filter_map(Result::ok) {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == DONE) {
                let data = entry.metadata()?;
                documents.push((data.modified()?, data.len(), path));
            }
        }
        documents.sort();
        let most = self.most_bytes.saturating_sub(self.claimed.load(Ordering::Relaxed));
        let mut bytes: u64 = documents.iter().map(|(_, length, _)| length).sum();
        let mut count = documents.len();
        for (_, length, path) in documents {
            // One more comes.
            if bytes <= most && count < self.most_documents {
                break;
            }
            fs::remove_file(&path)?;
            bytes -= length;
            count -= 1;
        }
        Ok(())
    }
}

impl Record {
    /// Adds what was seen in a picture.
    pub(crate) fn add(&mut self, frame_id: u64, ts_utc_ms: u64, seen: &[ai::Detection]) -> io::Result<()> {
        let told = |found: &ai::Detection| {
            let place = found.r#box.unwrap_or_default();
            json!({
                "label": found.label,
                "score": found.score,
                "box": [place.x, place.y, place.width, place.height],
            })
        };
        let detections: Vec<Value> = seen.iter().map(told).collect();
        self.line(&json!({"frame_id": frame_id, "ts_utc_ms": ts_utc_ms, "detections": detections}))
    }

    fn has_room(&self, bytes: u64) -> io::Result<()> {
        Ok(Space::of_file(&self.file)?.room_for(bytes, 0)?)
    }

    /// Makes the document.
    pub(crate) fn close(mut self, reason: &str) -> io::Result<()> {
        self.is_closed = true;
        finish(&self.path, reason)
    }

    fn line(&mut self, value: &Value) -> io::Result<()> {
        let mut line = value.to_string();
        line.push('\n');
        let written = self.written + line.len() as u64;
        if written > self.records.most_bytes / SESSION_SHARE {
            return Err(io::Error::other("it is as long as one session may be"));
        }
        if written > self.claimed {
            let more = (written - self.claimed).max(self.records.most_bytes / CLAIM_SHARE);
            self.records.claim(more)?;
            self.claimed += more;
        }
        // One call, so that a kill leaves whole lines.
        let room = self.has_room(line.len() as u64);
        room.and_then(|()| self.file.write_all(line.as_bytes()))
            .inspect_err(|error| lament(&self.records.health, error))?;
        self.written = written;
        Ok(())
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.is_closed
            && let Err(error) = finish(&self.path, "the session was given up")
        {
            tracing::warn!("{} could not be closed: {error}", self.path.display());
        }
        self.records.claimed.fetch_sub(self.claimed, Ordering::Relaxed);
    }
}

/// Tells the owner that sessions are not recorded.
fn lament(health: &Health, error: &io::Error) {
    let detail = format!("sessions are not recorded: {error}; detection goes on");
    health.set(COMPONENT, Status::Degraded, detail);
}

/// Lines into one document: the first says what the session was, the others are its pictures. A line that was
/// cut is left out.
fn finish(path: &Path, reason: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    let made =
        write_document(path, &part, reason).and_then(|()| fs::rename(&part, path.with_extension(DONE)));
    if let Err(error) = made {
        // The lines stay; the next start tries again.
        if let Err(error) = fs::remove_file(&part) {
            tracing::debug!("{}: {error}", part.display());
        }
        return Err(error);
    }
    follow(&path.with_extension(DONE))?;
    fs::remove_file(path)
}

/// Dates a document after all others in its folder: they go in the order they came, also when the clock was
/// put back in between.
fn follow(document: &Path) -> io::Result<()> {
    let modified = |path: &Path| fs::metadata(path).and_then(|about| about.modified());
    let mut newest = None;
    for entry in fs::read_dir(document.parent().unwrap_or(Path::new(".")))?.filter_map(Result::ok) {
        let path = entry.path();
        if path != document && path.extension().is_some_and(|extension| extension == DONE) {
            newest = newest.max(modified(&path).ok());
        }
    }
    match newest {
        Some(newest) if newest >= modified(document)? => {
            File::options().append(true).open(document)?.set_modified(newest + Duration::from_millis(1))
        }
        _ => Ok(()),
    }
}

/// When the first picture was taken, where that was before its session began: it may have waited for the model.
fn taken_before(head: &Map<String, Value>, line: &[u8]) -> Option<Timestamp> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let began: Timestamp = head.get("began")?.as_str()?.parse().ok()?;
    let taken = Timestamp::from_millisecond(line.get("ts_utc_ms")?.as_i64()?).ok()?;
    let waited = began.as_millisecond() - taken.as_millisecond();
    (1..=LONGEST_WAIT_MS).contains(&waited).then_some(taken)
}

fn write_document(lines: &Path, part: &Path, reason: &str) -> io::Result<()> {
    // Bytes: a cut may have gone through a letter.
    let mut lines = BufReader::new(File::open(lines)?).split(b'\n');
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut head: Map<String, Value> = serde_json::from_slice(&first).unwrap_or_default();
    let second = lines.next().transpose()?;
    if let Some(began) = second.as_deref().and_then(|line| taken_before(&head, line)) {
        head.insert("began".into(), json!(began));
    }
    head.insert("ended".into(), json!(Timestamp::now()));
    head.insert("reason".into(), json!(reason));
    let head = Value::Object(head).to_string();
    let mut out = BufWriter::new(File::create(part)?);
    write!(out, "{},\"frames\":[", head.strip_suffix('}').unwrap_or_default())?;
    let mut between: &[u8] = b"";
    for line in second.map(Ok).into_iter().chain(lines) {
        let line = line?;
        if serde_json::from_slice::<IgnoredAny>(&line).is_ok() {
            out.write_all(between)?;
            out.write_all(&line)?;
            between = b",";
        }
    }
    write!(out, "]}}")?;
    out.into_inner()?.sync_all()
}

#[cfg(test)]
mod tests;
