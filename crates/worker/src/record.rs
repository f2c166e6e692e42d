//! Files of sessions: one line of JSON for each picture while it lasts, one JSON document when it has ended.
//!
//! `<session>.jsonl` grows by whole lines and is made into `<session>.json` by a rename, so that every `.json`
//! there is whole. Lines that a killed worker left are made into documents when it starts again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use actionbooster_wire::ai::v1 as ai;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

const OPEN: &str = "jsonl";
const DONE: &str = "json";

/// Where files of sessions are.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    folder: PathBuf,
    /// Bytes that they may take together.
    most_bytes: u64,
}

/// The file of an open session.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    file: File,
}

impl Records {
    /// Makes documents of what an earlier worker left.
    pub(crate) fn open(folder: PathBuf, most_bytes: u64) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        for entry in fs::read_dir(&folder)?.filter_map(Result::ok) {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == OPEN)
                && let Err(error) = finish(&path, "the worker ended")
            {
                tracing::warn!("{} could not be closed: {error}", path.display());
            }
        }
        Ok(Self { folder, most_bytes })
    }

    /// Begins the file of a session.
    pub(crate) fn begin(&self, name: &str, client: &str, model: &str) -> io::Result<Record> {
        self.make_room()?;
        let path = self.folder.join(format!("{name}.{OPEN}"));
        let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        let mut record = Record { path, file };
        record
            .line(&json!({"session": name, "client": client, "model": model, "began": Timestamp::now()}))?;
        Ok(record)
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

    /// Makes the document.
    pub(crate) fn close(self, reason: &str) -> io::Result<()> {
        drop(self.file);
        finish(&self.path, reason)
    }

    fn line(&mut self, value: &Value) -> io::Result<()> {
        let mut line = value.to_string();
        line.push('\n');
        // One call, so that a kill leaves whole lines.
        self.file.write_all(line.as_bytes())
    }
}

/// Lines into one document: the first says what the session was, the others are its pictures. A line that was
/// cut is left out.
fn finish(path: &Path, reason: &str) -> io::Result<()> {
    let mut lines = BufReader::new(File::open(path)?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut document: Value = serde_json::from_str(&first).unwrap_or_else(|_| json!({}));
    let mut frames = Vec::new();
    for line in lines {
        if let Ok(frame) = serde_json::from_str::<Value>(&line?) {
            frames.push(frame);
        }
    }
    document["ended"] = json!(Timestamp::now());
    document["reason"] = json!(reason);
    document["frames"] = Value::Array(frames);
    let (part, done) = (path.with_extension("part"), path.with_extension(DONE));
    let mut file = File::create(&part)?;
    file.write_all(document.to_string().as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, done)?;
    fs::remove_file(path)
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
        let records = Records::open(folder.path().into(), 1 << 20).expect("opens");
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
        record.file.write_all(b"{\"frame_id\": 2, \"detec").expect("written");
        drop(record);
        Records::open(folder.path().into(), 1 << 20).expect("opens again");
        let document = read(&folder.path().join("two.json"));
        assert_eq!(document["frames"].as_array().map(Vec::len), Some(1));
        assert_eq!(document["reason"], "the worker ended");
        let left: Vec<_> = fs::read_dir(folder.path()).expect("folder").filter_map(Result::ok).collect();
        assert_eq!(left.len(), 2, "nothing else is left: {left:?}");
    }

    #[test]
    fn the_oldest_documents_make_room() {
        let folder = tempfile::tempdir().expect("folder");
        let records = Records::open(folder.path().into(), 100).expect("opens");
        for name in ["a", "b", "c"] {
            let record = records.begin(name, "", "m").expect("begins");
            record.close("asked").expect("closed");
        }
        assert!(!folder.path().join("a.json").exists());
        assert!(folder.path().join("c.json").exists(), "the newest stays");
    }
}
