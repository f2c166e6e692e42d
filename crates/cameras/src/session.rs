//! A session on the disk: `<root>/<camera>/<yyyymmdd-hhmmss>/` with `session.json`, `best.jpg` and `clip.mjpeg`.
//!
//! The pictures and the summary are always written whole: beside, to the disk, and then in the place. When
//! the disk is full, recording stops and says so; what was seen is still counted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use actionbooster_storage::{Shortage, Size, Space, atomic};
use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::picture::Detection;

/// The summary of a session.
pub const SUMMARY: &str = "session.json";
/// The picture with the best score.
pub const BEST: &str = "best.jpg";
/// The pictures of the session one after the other, as ffmpeg reads with `-f mjpeg`.
pub const CLIP: &str = "clip.mjpeg";
/// Detections that a summary tells frame by frame at most: about a megabyte.
const MOST_DETECTIONS: usize = 10_000;
/// Files and folders of a session.
const FILES: u64 = 4;

/// What `session.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Id of the camera.
    pub camera: String,
    /// When the detections began.
    pub began: Timestamp,
    /// When it ended; none while it goes on, or when the power failed within.
    pub ended: Option<Timestamp>,
    /// Why it ended.
    pub reason: Option<String>,
    /// What was seen, by the name of its class.
    pub classes: BTreeMap<String, Class>,
    /// Frames in which something was seen.
    pub frames: Vec<Seen>,
    /// Frames that are not told here because there were too many.
    pub frames_left_out: u64,
    /// Name of the picture with the best score, once there is one.
    pub snapshot: Option<String>,
    /// Name of the clip, if there is one.
    pub clip: Option<String>,
    /// Why recording stopped before the session ended, if it did.
    pub recording_stopped: Option<String>,
}

/// What was seen of one class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// Detections.
    pub count: u64,
    /// The best score.
    pub best: f32,
}

/// What was seen in one frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When it was taken.
    pub at: Timestamp,
    /// What was seen.
    pub detections: Vec<Detection>,
}

/// How much may be written, and how the space that is left is found out.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Recording stops when less is left, in bytes.
    pub reserve_bytes: u64,
    /// Bytes of a clip at most.
    pub clip_bytes: u64,
    /// Bytes that are left where this path lies.
    pub free: fn(&Path) -> io::Result<u64>,
}

/// Bytes that a program without privileges may still write there. None of them are of use without an inode.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let space = Space::of(path)?;
    // Bytes have a reserve of their own.
    match space.room_for(0, FILES) {
        Err(shortage @ Shortage::Files { .. }) => Err(shortage.into()),
        _ => Ok(space.free_bytes),
    }
}

/// The reserve that is wished, but no less than what every ordinary writer leaves free on this disk.
pub fn reserve(root: &Path, wished: u64) -> u64 {
    Space::of(root).map_or(wished, |space| wished.max(space.floor().bytes))
}

/// A session that is open.
#[derive(Debug)]
pub struct Session {
    folder: PathBuf,
    limits: Limits,
    summary: Summary,
    /// Detections in the summary.
    told: usize,
    best: Option<(f32, Bytes)>,
    best_changed: bool,
    clip: Option<File>,
    clip_bytes: u64,
}

impl Session {
    /// Begins one. Writes nothing yet.
    pub fn new(folder: PathBuf, camera: &str, began: Timestamp, limits: Limits) -> Self {
        let summary = Summary {
            camera: camera.to_owned(),
            began,
            ended: None,
            reason: None,
            classes: BTreeMap::new(),
            frames: Vec::new(),
            frames_left_out: 0,
            snapshot: None,
            clip: None,
            recording_stopped: None,
        };
        Self { folder, limits, summary, told: 0, best: None, best_changed: false, clip: None, clip_bytes: 0 }
    }

    /// What is known of it.
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Counts what was seen in a picture.
    pub fn see(&mut self, at: Timestamp, jpeg: &Bytes, detections: Vec<Detection>) {
        for detection in &detections {
            let class = self.summary.classes.entry(detection.label.clone()).or_default();
            class.count += 1;
            class.best = class.best.max(detection.score);
            if self.best.as_ref().is_none_or(|(best, _)| detection.score > *best) {
                self.best = Some((detection.score, jpeg.clone()));
                self.best_changed = true;
            }
        }
        if self.told + detections.len() <= MOST_DETECTIONS {
            self.told += detections.len();
            self.summary.frames.push(Seen { at, detections });
        } else {
            self.summary.frames_left_out += 1;
        }
    }

    /// Adds a picture to the clip. Tells when recording stops with it, and why.
    pub fn record(&mut self, jpeg: &[u8]) -> Option<String> {
        if self.summary.recording_stopped.is_some() {
            return None;
        }
        let length = jpeg.len() as u64;
        if self.clip_bytes + length > self.limits.clip_bytes {
            return Some(
                self.stop(format!("the clip has the {} bytes that it may have", self.limits.clip_bytes)),
            );
        }
        match self.room(length).and_then(|()| self.append(jpeg)) {
            Ok(()) => None,
            Err(error) => Some(self.stop(told(&error))),
        }
    }

    /// Writes the summary and the best picture. Tells when recording stops with it, and why.
    pub fn save(&mut self) -> Option<String> {
        match self.write() {
            Ok(()) => None,
            Err(_) if self.summary.recording_stopped.is_some() => None,
            Err(error) => Some(self.stop(told(&error))),
        }
    }

    /// Ends it.
    pub fn end(mut self, at: Timestamp, reason: &str) -> Option<String> {
        self.summary.ended = Some(at);
        self.summary.reason = Some(reason.to_owned());
        if let Some(clip) = self.clip.take()
            && let Err(error) = clip.sync_all()
        {
            tracing::warn!(%error, folder = %self.folder.display(), "the clip may not be on the disk");
        }
        self.save()
    }

    fn stop(&mut self, reason: String) -> String {
        self.clip = None;
        self.summary.recording_stopped = Some(reason.clone());
        reason
    }

    fn room(&self, bytes: u64) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let free = (self.limits.free)(&self.folder)?;
        if free < self.limits.reserve_bytes.saturating_add(bytes) {
            let reserve = self.limits.reserve_bytes;
            let message = format!(
                "{} are left and {} are kept free; free some in the portal under The box, Space",
                Size(free),
                Size(reserve)
            );
            return Err(io::Error::new(ErrorKind::StorageFull, message));
        }
        Ok(())
    }

    fn append(&mut self, jpeg: &[u8]) -> io::Result<()> {
        let clip = if let Some(clip) = &mut self.clip {
            clip
        } else {
            let path = self.folder.join(CLIP);
            self.summary.clip = Some(CLIP.into());
            self.clip.insert(File::options().create(true).append(true).open(path)?)
        };
        if let Err(error) = clip.write_all(jpeg) {
            // Half a picture is of no use, and its room may be enough for the summary.
            if let Err(error) = clip.set_len(self.clip_bytes) {
                tracing::debug!(%error, "half a picture is left in the clip");
            }
            return Err(error);
        }
        self.clip_bytes += jpeg.len() as u64;
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let best = self.best.as_ref().filter(|_| self.best_changed).map(|(_, jpeg)| jpeg);
        // The summary is small, and worth a part of the reserve once recording has stopped.
        if self.summary.recording_stopped.is_none() {
            self.room(best.map_or(0, |jpeg| jpeg.len() as u64))?;
        }
        if let Some(jpeg) = best {
            atomic::write(&self.folder.join(BEST), jpeg)?;
            self.best_changed = false;
            self.summary.snapshot = Some(BEST.into());
        }
        atomic::write(&self.folder.join(SUMMARY), &serde_json::to_vec(&self.summary)?)
    }
}

fn told(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            let words = error.to_string();
            if words.starts_with("the disk is full") { words } else { format!("the disk is full: {words}") }
        }
        _ => format!("the disk cannot be written: {error}"),
    }
}

/// The name of a session that begins at this time (UTC), other than those that are there.
pub fn name(camera_folder: &Path, began: Timestamp) -> String {
    let name = began.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S").to_string();
    // A clock that was put back may bring the same second again.
    let taken = |name: &String| camera_folder.join(name).exists();
    let mut free = name.clone();
    let mut number = 2;
    while taken(&free) {
        free = format!("{name}-{number}");
        number += 1;
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { reserve_bytes: 1000, clip_bytes: 50, free: |_| Ok(1_000_000) }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    fn seen(label: &str, score: f32) -> Detection {
        Detection { label: label.into(), score, x: 0.0, y: 0.0, width: 0.5, height: 0.5 }
    }

    fn session(limits: Limits) -> (tempfile::TempDir, Session) {
        let root = tempfile::tempdir().expect("room");
        let folder = root.path().join("door/20270115-080000");
        (root, Session::new(folder, "door", at(0), limits))
    }

    fn read(session: &Path) -> Summary {
        serde_json::from_slice(&fs::read(session.join(SUMMARY)).expect("written")).expect("whole")
    }

    #[test]
    fn a_session_leaves_its_summary_its_best_picture_and_its_clip() {
        let (_root, mut session) = session(limits());
        let folder = session.folder.clone();
        assert_eq!(session.record(b"zero"), None);
        session.see(at(1), &Bytes::from_static(b"one"), vec![seen("person", 0.5), seen("dog", 0.4)]);
        assert_eq!(session.save(), None);
        assert_eq!(read(&folder).ended, None);
        session.see(at(2), &Bytes::from_static(b"two"), vec![seen("person", 0.9)]);
        session.see(at(3), &Bytes::from_static(b"three"), vec![seen("person", 0.6)]);
        assert_eq!(session.record(b"one"), None);
        assert_eq!(session.end(at(4), "silence"), None);
        let summary = read(&folder);
        assert_eq!(summary.classes["person"], Class { count: 3, best: 0.9 });
        assert_eq!(summary.classes["dog"], Class { count: 1, best: 0.4 });
        assert_eq!((summary.frames.len(), summary.ended), (3, Some(at(4))));
        assert_eq!(summary.reason.as_deref(), Some("silence"));
        assert_eq!(fs::read(folder.join(BEST)).expect("written"), b"two");
        assert_eq!(fs::read(folder.join(CLIP)).expect("written"), b"zeroone");
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 3, "nothing half-written is left");
    }

    #[test]
    fn a_clip_that_is_long_enough_stops_and_the_session_goes_on() {
        let (_root, mut session) = session(limits());
        let folder = session.folder.clone();
        assert_eq!(session.record(&[1; 50]), None);
        let reason = session.record(&[1]).expect("too much");
        assert!(reason.contains("50 bytes"), "{reason}");
        assert_eq!(session.record(&[1]), None, "told once");
        session.see(at(1), &Bytes::from_static(b"one"), vec![seen("person", 0.5)]);
        assert_eq!(session.end(at(2), "silence"), None);
        assert_eq!(read(&folder).recording_stopped, Some(reason));
        assert_eq!(fs::metadata(folder.join(CLIP)).expect("written").len(), 50);
    }

    #[test]
    fn a_full_disk_stops_recording_and_is_told_once() {
        let (_root, mut session) = session(Limits { free: |_| Ok(1003), ..limits() });
        let folder = session.folder.clone();
        assert_eq!(session.record(b"one"), None, "the reserve is not touched");
        let reason = session.record(b"four").expect("it is");
        assert!(reason.contains("the disk is full") && reason.contains("1003 bytes are left"), "{reason}");
        session.see(at(1), &Bytes::from_static(b"five!"), vec![seen("person", 0.5)]);
        assert_eq!(session.end(at(2), "silence"), None);
        assert_eq!(read(&folder).classes["person"].count, 1, "detection went on");
    }

    #[test]
    fn a_write_that_fails_for_want_of_space_stops_recording() {
        let (_root, mut session) = session(limits());
        fs::create_dir_all(&session.folder).expect("room");
        std::os::unix::fs::symlink("/dev/full", session.folder.join(CLIP)).expect("room");
        let reason = session.record(b"one").expect("full");
        assert!(reason.contains("the disk is full"), "{reason}");
        // The summary cannot be written either: something is where it is first written.
        let in_the_way = session.folder.join(".session.json.new");
        fs::create_dir(&in_the_way).expect("room");
        assert_eq!(session.save(), None);
        assert!(!session.folder.join(SUMMARY).exists(), "never half");
        fs::remove_dir(&in_the_way).expect("room again");
        assert_eq!(session.save(), None);
        assert!(session.folder.join(SUMMARY).exists(), "later there was room");
    }

    #[test]
    fn a_folder_that_cannot_be_made_stops_recording() {
        let (root, mut session) = session(limits());
        fs::write(root.path().join("door"), b"in the way").expect("room");
        let reason = session.save().expect("in the way");
        assert!(reason.contains("cannot be written"), "{reason}");
        assert_eq!(session.end(at(1), "silence"), None, "told once");
    }

    #[test]
    fn a_long_session_keeps_a_summary_of_bounded_size() {
        let (_root, mut session) = session(limits());
        session.see(at(0), &Bytes::new(), vec![seen("person", 0.5); 200]);
        (0..20_000).for_each(|second| session.see(at(second), &Bytes::new(), vec![seen("dog", 0.5)]));
        let summary = session.summary();
        assert_eq!((summary.frames.len(), summary.frames_left_out), (9801, 10_200));
        assert_eq!((summary.classes["person"].count, summary.classes["dog"].count), (200, 20_000));
        session.save();
        let bytes = fs::metadata(session.folder.join(SUMMARY)).expect("written").len();
        assert!(bytes < 2_000_000, "{bytes}");
    }

    #[test]
    fn names_tell_the_time_and_do_not_repeat() {
        let root = tempfile::tempdir().expect("room");
        assert_eq!(name(root.path(), at(0)), "20270115-080000");
        for expected in ["20270115-080000-2", "20270115-080000-3"] {
            fs::create_dir(root.path().join(name(root.path(), at(0)))).expect("room");
            assert_eq!(name(root.path(), at(0)), expected);
        }
        assert!(free_bytes(root.path()).expect("there") > 0);
        assert!(reserve(root.path(), 0) > 0, "however little is wished, some stays free");
        assert_eq!(reserve(root.path(), u64::MAX), u64::MAX);
    }
}
