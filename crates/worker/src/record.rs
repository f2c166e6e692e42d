//! Files of sessions: one line of JSON for each picture while it lasts, one JSON document when it has ended.
//!
//! `<session>.jsonl` grows by whole lines and is made into `<session>.json` by a rename, so that every `.json`
//! there is whole. Lines that a killed worker left are made into documents when it starts again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
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

/// Where files of sessions are.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    folder: PathBuf,
    /// Bytes that they may take together.
    most_bytes: u64,
    health: Health,
}

/// The file of an open session.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    file: File,
    /// Bytes that it may still take.
    room: u64,
    health: Health,
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
        Ok(Self { folder, most_bytes, health })
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
        self.make_room()?;
        Space::of(&self.folder)?.room_for(1, FILES)?;
        let path = self.folder.join(format!("{name}.{OPEN}"));
        let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        let room = self.most_bytes / SESSION_SHARE;
        let mut record = Record { path, file, room, health: self.health.clone() };
        record
            .line(&json!({"session": name, "client": client, "model": model, "began": Timestamp::now()}))?;
        Ok(record)
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

    /// Removes the oldest documents until the rest fits.
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
        let mut bytes: u64 = documents.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in documents {
            if bytes <= self.most_bytes {
                break;
            }
            fs::remove_file(&path)?;
            bytes -= length;
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
    pub(crate) fn close(self, reason: &str) -> io::Result<()> {
        drop(self.file);
        finish(&self.path, reason)
    }

    fn line(&mut self, value: &Value) -> io::Result<()> {
        let mut line = value.to_string();
        line.push('\n');
        let room = self.room.checked_sub(line.len() as u64);
        self.room = room.ok_or_else(|| io::Error::other("it is as long as one session may be"))?;
        // One call, so that a kill leaves whole lines.
        let written = self.has_room(line.len() as u64).and_then(|()| self.file.write_all(line.as_bytes()));
        written.inspect_err(|error| lament(&self.health, error))
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

fn write_document(lines: &Path, part: &Path, reason: &str) -> io::Result<()> {
    // Bytes: a cut may have gone through a letter.
    let mut lines = BufReader::new(File::open(lines)?).split(b'\n');
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut head: Map<String, Value> = serde_json::from_slice(&first).unwrap_or_default();
    head.insert("ended".into(), json!(Timestamp::now()));
    head.insert("reason".into(), json!(reason));
    let head = Value::Object(head).to_string();
    let mut out = BufWriter::new(File::create(part)?);
    write!(out, "{},\"frames\":[", head.strip_suffix('}').unwrap_or_default())?;
    let mut between: &[u8] = b"";
    for line in lines {
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
mod tests {
    use super::*;

    fn read(path: &Path) -> Value {
        serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
    }

    fn seen(label: &str) -> Vec<ai::Detection> {
        let place = Some(ai::Box { x: 1.0, y: 2.0, width: 3.0, height: 4.0 });
        vec![ai::Detection { class_id: 0, label: label.into(), score: 0.5, r#box: place }]
    }

    #[test]
    fn a_session_becomes_one_document_also_when_the_worker_was_killed() {
        let folder = tempfile::tempdir().expect("folder");
        let records = Records::open(folder.path().into(), 1 << 20, Health::default()).expect("opens");
        let mut record = records.begin("one", "door", "m").expect("begins");
        record.add(1, 0, &seen("cat")).expect("added");
        record.add(2, 5, &[]).expect("added");
        record.close("asked").expect("closed");
        let document = read(&folder.path().join("one.json"));
        assert_eq!((&document["client"], &document["reason"]), (&json!("door"), &json!("asked")));
        assert_eq!(document["frames"][0]["detections"][0]["box"], json!([1.0, 2.0, 3.0, 4.0]));
        assert_eq!(document["frames"].as_array().map(Vec::len), Some(2));

        let mut record = records.begin("two", "door", "m").expect("begins");
        record.add(1, 0, &seen("cat")).expect("added");
        // Killed in the middle of a line.
        record.file.write_all(b"{\"frame_id\": 2, \"label\": \"ni\xc3").expect("written");
        drop(record);
        Records::open(folder.path().into(), 1 << 20, Health::default()).expect("opens again");
        let document = read(&folder.path().join("two.json"));
        assert_eq!(document["frames"].as_array().map(Vec::len), Some(1));
        assert_eq!(document["reason"], "the worker ended");
        let left: Vec<_> = fs::read_dir(folder.path()).expect("folder").filter_map(Result::ok).collect();
        assert_eq!(left.len(), 2, "nothing else is left: {left:?}");
    }

    #[test]
    fn the_oldest_documents_make_room() {
        let folder = tempfile::tempdir().expect("folder");
        let records = Records::open(folder.path().into(), 600, Health::default()).expect("opens");
        for name in ["a", "b", "c", "d", "e", "f"] {
            let record = records.begin(name, "", "m").expect("begins");
            record.close("asked").expect("closed");
        }
        assert!(!folder.path().join("a.json").exists());
        assert!(folder.path().join("f.json").exists(), "the newest stays");
    }

    #[test]
    fn ended_sessions_are_cleared_and_open_ones_go_on() {
        let folder = tempfile::tempdir().expect("folder");
        let records = Records::open(folder.path().into(), 1 << 20, Health::default()).expect("opens");
        records.begin("one", "", "m").expect("begins").close("asked").expect("closed");
        let mut open = records.begin("two", "", "m").expect("begins");
        assert_eq!(records.usage(Instant::now() + Duration::from_secs(60)).files, 3);
        assert_eq!(records.clear().expect("cleared"), 1);
        open.add(1, 0, &seen("cat")).expect("added");
        open.close("asked").expect("closed");
        assert!(folder.path().join("two.json").exists() && !folder.path().join("one.json").exists());
    }

    #[test]
    fn a_clock_that_was_put_back_does_not_make_new_documents_the_oldest() {
        let folder = tempfile::tempdir().expect("folder");
        let records = Records::open(folder.path().into(), 600, Health::default()).expect("opens");
        let ahead = std::time::SystemTime::now() + Duration::from_secs(400 * 86_400);
        for name in ["a", "b", "c", "d", "e", "f"] {
            records.begin(name, "", "m").expect("begins").close("asked").expect("closed");
            if name == "a" {
                let document =
                    File::options().append(true).open(folder.path().join("a.json")).expect("there");
                document.set_modified(ahead).expect("dated");
            }
        }
        assert!(!folder.path().join("a.json").exists(), "the first goes first");
        assert!(folder.path().join("f.json").exists(), "the last stays");
    }

    #[test]
    fn a_session_without_end_does_not_fill_the_disk() {
        let folder = tempfile::tempdir().expect("folder");
        let records = Records::open(folder.path().into(), 40_000, Health::default()).expect("opens");
        let mut record = records.begin("long", "", "m").expect("begins");
        let added = (0..1000).take_while(|number| record.add(*number, 0, &seen("cat")).is_ok()).count();
        record.close("asked").expect("closed");
        let document = read(&folder.path().join("long.json"));
        assert_eq!(document["frames"].as_array().map(Vec::len), Some(added));
        assert!((50..200).contains(&added), "{added} of about a hundred bytes each");
    }
}
