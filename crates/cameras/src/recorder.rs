//! Writes the sessions of one camera, away from everything that must not wait for a disk.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::picture::Detection;
use crate::session::{Limits, Session};

/// Commands that wait at most, and those of them that are kept free of clip pictures.
const QUEUE: usize = 256;
const RESERVED: usize = 64;
/// Commands that are executed at a stretch.
const BATCH: usize = 32;
/// A summary on the disk is this old at most; the second value holds for long sessions, whose summaries are large.
const SAVE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

/// What is to be written.
#[derive(Debug)]
pub(crate) enum Command {
    Begin { folder: PathBuf, camera: String, began: Timestamp },
    See { at: Timestamp, jpeg: Bytes, detections: Vec<Detection> },
    Record(Bytes),
    End { at: Timestamp, reason: &'static str },
}

/// Sends commands; the task ends when this is dropped and everything is written.
#[derive(Debug)]
pub(crate) struct Recorder(mpsc::Sender<Command>);

impl Recorder {
    /// A recorder, and what its task needs.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, commands) = mpsc::channel(QUEUE);
        (Self(sender), commands)
    }

    /// Sends, and never waits. Says no when the disk is so slow that the command is lost.
    pub(crate) fn send(&self, command: Command) -> bool {
        let fits = !matches!(command, Command::Record(_)) || self.0.capacity() > RESERVED;
        fits && self.0.try_send(command).is_ok()
    }
}

/// The session that is open, on the thread that writes.
struct Writer {
    limits: Limits,
    open: Option<Session>,
    saved: Instant,
    pause: Duration,
}

/// Executes commands until there are none any more. Tells why recording stopped.
pub(crate) async fn run(
    mut commands: mpsc::Receiver<Command>,
    limits: Limits,
    stopped: mpsc::Sender<String>,
) {
    let mut writer = Writer { limits, open: None, saved: Instant::now(), pause: SAVE[0] };
    let mut batch = Vec::with_capacity(BATCH);
    while commands.recv_many(&mut batch, BATCH).await > 0 {
        let work = std::mem::take(&mut batch);
        let done = tokio::task::spawn_blocking(move || {
            let told: Vec<String> = work.into_iter().filter_map(|command| writer.execute(command)).collect();
            (writer, told)
        });
        let (back, told) = match done.await {
            Ok(done) => done,
            Err(error) => return tracing::error!(%error, "recording ended"),
        };
        writer = back;
        for reason in told {
            // A camera that is stopping does not listen.
            let _ = stopped.send(reason).await;
        }
    }
    if let Err(error) = tokio::task::spawn_blocking(move || writer.end(Timestamp::now())).await {
        tracing::error!(%error, "recording ended");
    }
}

impl Writer {
    fn execute(&mut self, command: Command) -> Option<String> {
        match command {
            Command::Begin { folder, camera, began } => {
                self.end(began);
                let mut session = Session::new(folder, &camera, began, self.limits);
                let told = session.save();
                (self.saved, self.pause) = (Instant::now(), SAVE[0]);
                self.open = Some(session);
                told
            }
            Command::See { at, jpeg, detections } => {
                self.open.as_mut()?.see(at, &jpeg, detections);
                self.save()
            }
            Command::Record(jpeg) => self.open.as_mut()?.record(&jpeg),
            Command::End { at, reason } => self.open.take()?.end(at, reason),
        }
    }

    fn save(&mut self) -> Option<String> {
        if self.saved.elapsed() < self.pause {
            return None;
        }
        self.saved = Instant::now();
        self.pause = (self.pause * 2).min(SAVE[1]);
        self.open.as_mut()?.save()
    }

    /// Ends a session whose end was lost because the disk was too slow.
    fn end(&mut self, at: Timestamp) {
        if let Some(reason) = self.open.take().and_then(|session| session.end(at, "interrupted")) {
            tracing::warn!(reason, "a session could not be written to its end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{CLIP, SUMMARY};

    #[tokio::test]
    async fn commands_are_executed_to_the_last_and_stops_are_told() {
        let root = tempfile::tempdir().expect("room");
        let limits = Limits { reserve_bytes: 0, clip_bytes: 5, free: |_| Ok(1 << 30) };
        let (recorder, commands) = Recorder::new();
        let (sender, mut stopped) = mpsc::channel(8);
        let task = tokio::spawn(run(commands, limits, sender));
        let folder = root.path().join("one");
        let at = Timestamp::UNIX_EPOCH;
        assert!(recorder.send(Command::Begin { folder: folder.clone(), camera: "door".into(), began: at }));
        for _ in 0..3 {
            assert!(recorder.send(Command::Record(Bytes::from_static(b"four"))));
        }
        assert!(recorder.send(Command::End { at, reason: "silence" }));
        drop(recorder);
        task.await.expect("ended");
        assert!(stopped.recv().await.expect("told").contains("5 bytes"));
        assert_eq!(stopped.recv().await, None, "once");
        assert_eq!(std::fs::read(folder.join(CLIP)).expect("written"), b"four");
        assert!(std::fs::read_to_string(folder.join(SUMMARY)).expect("written").contains("silence"));
    }

    #[tokio::test]
    async fn a_session_without_an_end_is_ended_by_the_next_and_by_the_last_command() {
        let root = tempfile::tempdir().expect("room");
        let limits = Limits { reserve_bytes: 0, clip_bytes: 5, free: |_| Ok(1 << 30) };
        let (recorder, commands) = Recorder::new();
        let (sender, _stopped) = mpsc::channel(8);
        let task = tokio::spawn(run(commands, limits, sender));
        for name in ["one", "two"] {
            let (folder, began) = (root.path().join(name), Timestamp::UNIX_EPOCH);
            assert!(recorder.send(Command::Begin { folder, camera: "door".into(), began }));
        }
        drop(recorder);
        task.await.expect("ended");
        for name in ["one", "two"] {
            let summary = std::fs::read_to_string(root.path().join(name).join(SUMMARY)).expect("written");
            assert!(summary.contains("interrupted"), "{summary}");
        }
    }

    #[tokio::test]
    async fn a_disk_that_is_too_slow_loses_clip_pictures_before_anything_else() {
        let (recorder, _commands) = Recorder::new();
        let fitting = (0..QUEUE).filter(|_| recorder.send(Command::Record(Bytes::new()))).count();
        assert_eq!(fitting, QUEUE - RESERVED);
        assert!(recorder.send(Command::End { at: Timestamp::UNIX_EPOCH, reason: "silence" }));
    }
}
