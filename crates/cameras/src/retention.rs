//! Which sessions stay: those that are young enough and fit.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::session::{SUMMARY, Summary};

/// A session without an end that nothing was written to for so long was broken off.
const BROKEN_OFF: Duration = Duration::from_secs(3600);

/// How much is kept; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Days after which a session goes.
    pub days: u32,
    /// Bytes of all sessions at most.
    pub bytes: u64,
}

/// A session as the choice sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// Its folder.
    pub folder: PathBuf,
    /// When it began.
    pub began: Timestamp,
    /// What it takes.
    pub bytes: u64,
    /// Whether it still goes on.
    pub open: bool,
    /// Whether it says that it has ended; one whose power failed is neither open nor ended.
    pub ended: bool,
}

/// Tells how old something is, by its name below the root and the date that it bears.
pub type Age<'a> = &'a mut dyn FnMut(&str, Timestamp) -> Duration;

/// Chooses what goes: what is too old, then the oldest until the rest fits. An open one never goes. Dates are
/// not asked: the clock may have been wrong when they were written, or be wrong now.
pub fn choose(sessions: &[(StoredSession, Duration)], limits: Limits) -> Vec<PathBuf> {
    let days = Duration::from_secs(u64::from(limits.days) * 24 * 3600);
    let mut left: u64 = sessions.iter().map(|(session, _)| session.bytes).fold(0, u64::saturating_add);
    let mut ended: Vec<_> = sessions.iter().filter(|(session, _)| !session.open).collect();
    ended.sort_by(|(a, a_age), (b, b_age)| (b_age, &a.folder).cmp(&(a_age, &b.folder)));
    let mut going = Vec::new();
    for (session, age) in ended {
        let too_old = limits.days > 0 && *age > days;
        let too_much = limits.bytes > 0 && left > limits.bytes;
        if too_old || too_much {
            left = left.saturating_sub(session.bytes);
            going.push(session.folder.clone());
        }
    }
    going
}

/// Removes what goes from `<root>/<camera>/<session>/`, and gives the folders that went. Blocks.
///
/// One that cannot be removed is told in the log and stays.
pub fn sweep(root: &Path, now: Timestamp, limits: Limits, age: Age<'_>) -> io::Result<Vec<PathBuf>> {
    let aged = sessions(root, now)?.into_iter().map(|session| {
        let name = session.folder.strip_prefix(root).unwrap_or(&session.folder).to_string_lossy();
        let age = age(&name, session.began);
        // A clock that jumped makes a session look quiet that is being written to.
        let open = session.open || (!session.ended && age < BROKEN_OFF);
        (StoredSession { open, ..session }, age)
    });
    let mut going = choose(&aged.collect::<Vec<_>>(), limits);
    going.retain(|folder| match fs::remove_dir_all(folder) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "an old session cannot be removed");
            false
        }
    });
    Ok(going)
}

/// Removes the sessions of one camera's folder that ended so long ago, because its owner wants it. Gives how many
/// went. Blocks.
pub fn clear(camera: &Path, now: Timestamp, older_than: Duration) -> io::Result<usize> {
    let mut removed = 0;
    for session in sessions_of(camera, now)?.into_iter().filter(|session| !session.open) {
        let age = Duration::try_from(now.duration_since(session.began)).unwrap_or_default();
        if age >= older_than {
            fs::remove_dir_all(&session.folder)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The sessions of one camera's folder. Blocks.
pub fn sessions_of(camera: &Path, now: Timestamp) -> io::Result<Vec<StoredSession>> {
    let mut found = Vec::new();
    for folder in folders(camera)? {
        let Some(named) = folder.file_name().and_then(|name| time_of(name.to_str()?)) else { continue };
        found.extend(look(folder, named, now)?);
    }
    Ok(found)
}

/// The sessions under a root. What is called otherwise is not ours. Blocks.
pub fn sessions(root: &Path, now: Timestamp) -> io::Result<Vec<StoredSession>> {
    let mut found = Vec::new();
    for camera in folders(root)? {
        found.extend(sessions_of(&camera, now)?);
    }
    Ok(found)
}

/// Folders within a folder; links are not followed.
fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// The time that the name of a session tells.
fn time_of(name: &str) -> Option<Timestamp> {
    let (time, number) = (name.get(..15)?, name.get(15..)?);
    let numbered = number.strip_prefix('-').is_some_and(|number| number.parse::<u32>().is_ok());
    if !number.is_empty() && !numbered {
        return None;
    }
    let civil = DateTime::strptime("%Y%m%d-%H%M%S", time).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn look(folder: PathBuf, named: Timestamp, now: Timestamp) -> io::Result<Option<StoredSession>> {
    let (mut bytes, mut written) = (0, None);
    let entries = match fs::read_dir(&folder) {
        // It went meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        // A file that is being put into its place goes under its first name.
        if let Ok(about) = entry.and_then(|entry| entry.metadata()) {
            bytes += about.len();
            written = written.max(about.modified().ok());
        }
    }
    let summary: Option<Summary> =
        fs::read(folder.join(SUMMARY)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let ended = summary.as_ref().is_some_and(|summary| summary.ended.is_some());
    let quiet = written.and_then(|written| Timestamp::try_from(written).ok()).is_none_or(|written| {
        Duration::try_from(now.duration_since(written)).is_ok_and(|quiet| quiet > BROKEN_OFF)
    });
    let began = summary.map_or(named, |summary| summary.began);
    Ok(Some(StoredSession { folder, began, bytes, open: !ended && !quiet, ended }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session with its age.
    type Aged = (StoredSession, Duration);
    /// Name, sessions, days, bytes, and what goes.
    type Case = (&'static str, Vec<Aged>, u32, u64, &'static [&'static str]);

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn kept(name: &str, days: u32, bytes: u64) -> Aged {
        let began = Timestamp::UNIX_EPOCH;
        (StoredSession { folder: name.into(), began, bytes, open: false, ended: true }, DAY * days)
    }

    fn open(name: &str, days: u32, bytes: u64) -> Aged {
        let (session, age) = kept(name, days, bytes);
        (StoredSession { open: true, ended: false, ..session }, age)
    }

    #[test]
    fn the_old_go_then_the_oldest_until_the_rest_fits() {
        let three = || vec![kept("c", 1, 10), kept("a", 9, 10), kept("b", 5, 10)];
        let cases: [Case; 9] = [
            ("nothing there", vec![], 1, 1, &[]),
            ("no limits", three(), 0, 0, &[]),
            ("all are young and fit", three(), 9, 30, &[]),
            ("too old", three(), 4, 0, &["a", "b"]),
            ("too much", three(), 0, 29, &["a"]),
            ("far too much", three(), 0, 5, &["a", "b", "c"]),
            ("what is too old makes room", three(), 8, 20, &["a"]),
            ("both", three(), 8, 10, &["a", "b"]),
            ("an open one counts and stays", vec![open("a", 9, 10), kept("b", 1, 10)], 4, 15, &["b"]),
        ];
        for (name, sessions, days, bytes, going) in cases {
            let chosen = choose(&sessions, Limits { days, bytes });
            assert_eq!(chosen, going.iter().map(PathBuf::from).collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn only_ended_sessions_are_removed_and_nothing_that_is_not_ours() {
        let root = tempfile::tempdir().expect("room");
        let outside = tempfile::tempdir().expect("room");
        let make = |name: &str, ended: Option<&str>| {
            let folder = root.path().join(name);
            fs::create_dir_all(&folder).expect("room");
            let summary = serde_json::json!({
                "camera": "door", "began": "2020-01-02T03:04:05Z", "ended": ended, "reason": null, "classes": {},
                "frames": [], "frames_left_out": 0, "snapshot": null, "clip": null, "recording_stopped": null,
            });
            fs::write(folder.join(SUMMARY), summary.to_string()).expect("room");
            folder
        };
        let old = make("door/20200102-030405", Some("2020-01-02T03:05:00Z"));
        let second = make("door/20200102-030405-2", Some("2020-01-02T03:05:00Z"));
        let running = make("door/20200102-030406", None);
        let foreign =
            [make("door/notes", Some("2020-01-02T03:05:00Z")), make("door/20200102-030405-x", None)];
        std::os::unix::fs::symlink(outside.path(), root.path().join("door/20200102-030407")).expect("room");
        let limits = Limits { days: 1, bytes: 0 };
        let mut asked = Vec::new();
        let mut years = |name: &str, began: Timestamp| {
            asked.push((name.to_owned(), began.to_string()));
            2 * DAY
        };
        let mut gone = sweep(root.path(), Timestamp::now(), limits, &mut years).expect("readable");
        gone.sort();
        assert_eq!(gone, [old, second]);
        asked.sort();
        assert_eq!(asked[0], ("door/20200102-030405".into(), "2020-01-02T03:04:05Z".into()));
        assert_eq!(asked.len(), 3);
        assert!(running.exists() && outside.path().exists() && foreign.iter().all(|folder| folder.exists()));
        // Two hours later nothing was written to it: the power failed.
        let later = Timestamp::now() + Duration::from_secs(7200);
        let young = &mut |_: &str, _: Timestamp| DAY / 48;
        let little = Limits { days: 0, bytes: 1 };
        assert_eq!(sweep(root.path(), later, little, young).expect("readable"), [] as [PathBuf; 0]);
        assert!(running.exists(), "it began just now: the clock was set");
        let days = &mut |_: &str, _: Timestamp| 2 * DAY;
        assert_eq!(sweep(root.path(), later, limits, days).expect("readable"), [running]);
        let nowhere = root.path().join("nowhere");
        assert_eq!(sweep(&nowhere, later, limits, days).expect("nothing"), [] as [PathBuf; 0]);
    }

    #[test]
    fn an_owner_clears_what_is_old_enough_and_never_an_open_session() {
        let root = tempfile::tempdir().expect("room");
        let make = |name: &str, began: &str, ended: Option<&str>| {
            let folder = root.path().join(name);
            fs::create_dir_all(&folder).expect("room");
            let summary = serde_json::json!({
                "camera": "door", "began": began, "ended": ended, "reason": null, "classes": {},
                "frames": [], "frames_left_out": 0, "snapshot": null, "clip": null, "recording_stopped": null,
            });
            fs::write(folder.join(SUMMARY), summary.to_string()).expect("room");
            folder
        };
        let old = make("20200102-030405", "2020-01-02T03:04:05Z", Some("2020-01-02T03:05:00Z"));
        let young = make("20200110-030405", "2020-01-10T03:04:05Z", Some("2020-01-10T03:05:00Z"));
        let open = make("20200110-040000", "2020-01-10T04:00:00Z", None);
        let now: Timestamp = "2020-01-10T12:00:00Z".parse().expect("time");
        let week = Duration::from_secs(7 * 24 * 3600);
        assert_eq!(clear(root.path(), now, week).expect("cleared"), 1);
        assert!(!old.exists() && young.exists() && open.exists());
        assert_eq!(clear(root.path(), now, Duration::ZERO).expect("cleared"), 1);
        assert!(!young.exists() && open.exists());
        assert_eq!(clear(&root.path().join("nowhere"), now, week).expect("nothing"), 0);
    }

    #[test]
    fn names_of_sessions_tell_their_time() {
        assert_eq!(time_of("20270115-080000").map(Timestamp::as_second), Some(1_800_000_000));
        assert_eq!(time_of("20270115-080000-12").map(Timestamp::as_second), Some(1_800_000_000));
        for name in ["", "20271315-080000", "20270115-080000-", "20270115-080000x", "2027011508000é", ".."] {
            assert_eq!(time_of(name), None, "{name}");
        }
    }
}
