//! Pictures from a source, for as long as wanted: the source is begun again whenever it ends or stalls.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::ffmpeg;
use crate::folder;
use crate::jpegs::Jpegs;
use crate::latest::Latest;
use crate::picture::Picture;
use crate::sink::{Sink, tell};
use crate::source::{CameraState, Source};

/// Without a picture for so long, the source is begun again.
const STALL: Duration = Duration::from_secs(10);
/// Pauses between two tries.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The same for a camera at this machine: looking for it costs nothing, and who plugs it in waits.
const LONGEST_PAUSE_PLUGGED: Duration = Duration::from_secs(5);
/// A source that worked for so long is tried again at once when it ends.
const STEADY: Duration = Duration::from_secs(10);
/// Bytes of the decoder's last words that are kept.
const LAST_WORDS: usize = 2000;
/// How long a decoder that ended may take to be gone, and its last words to be read.
const END: Duration = Duration::from_secs(2);

/// A source and how it is read.
#[derive(Debug, Clone)]
pub struct Capture {
    /// Where pictures come from.
    pub source: Source,
    /// How many a second.
    pub fps: u32,
    /// The decoder.
    pub ffmpeg: PathBuf,
}

/// How one run of a source ended.
enum Ended {
    Stopped,
    /// The source has no more.
    Finished {
        pictures: u64,
    },
    Broken(String),
}

impl Capture {
    /// Puts pictures until it is stopped, or at the end of a source that has one.
    pub async fn run(
        self,
        pictures: &Latest<Picture>,
        states: mpsc::Sender<CameraState>,
        stop: CancellationToken,
    ) {
        let longest = match self.source {
            Source::V4l2 { .. } => LONGEST_PAUSE_PLUGGED,
            _ => LONGEST_PAUSE,
        };
        let mut backoff = Backoff::new(FIRST_PAUSE, longest);
        tell(&states, CameraState::Connecting).await;
        loop {
            let began = Instant::now();
            let ended = tokio::select! {
                ended = self.once(pictures, &states) => ended,
                // Dropping the run kills the decoder.
                () = stop.cancelled() => Ended::Stopped,
            };
            if began.elapsed() >= STEADY {
                backoff.reset();
            }
            let pause = match (ended, &self.source) {
                (Ended::Stopped, _) => return,
                (Ended::Finished { pictures: 1.. }, Source::File { .. } | Source::Folder { .. }) => {
                    return tell(&states, CameraState::Ended).await;
                }
                // One picture a request: ask for the next.
                (Ended::Finished { pictures: 1 }, Source::Http { .. }) => FIRST_PAUSE,
                (Ended::Finished { pictures: 0 }, _) => {
                    self.lost("it gave no picture".into(), &states, &mut backoff).await
                }
                (Ended::Finished { .. }, _) => self.lost("it ended".into(), &states, &mut backoff).await,
                (Ended::Broken(reason), _) => self.lost(reason, &states, &mut backoff).await,
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn lost(
        &self,
        reason: String,
        states: &mpsc::Sender<CameraState>,
        backoff: &mut Backoff,
    ) -> Duration {
        let pause = backoff.wait(rand::random());
        tracing::warn!(source = %self.source, reason, ?pause, "no pictures");
        tell(states, CameraState::Lost { reason }).await;
        pause
    }

    async fn once(&self, pictures: &Latest<Picture>, states: &mpsc::Sender<CameraState>) -> Ended {
        let mut sink = Sink::new(pictures, states);
        let Some(invocation) = ffmpeg::invocation(&self.source, self.fps) else {
            let Source::Folder { path, repeat } = &self.source else {
                unreachable!("only folders need no decoder")
            };
            return match folder::play(path, *repeat, self.fps, &mut sink).await {
                Ok(()) => Ended::Finished { pictures: sink.count() },
                Err(error) => Ended::Broken(format!("cannot read {}: {error}", path.display())),
            };
        };
        if let Source::V4l2 { device } = &self.source
            && !Path::new(device).exists()
        {
            return Ended::Broken(format!(
                "there is no {device}: plug the camera in, or name the device that it has"
            ));
        }
        let spawned = Command::new(&self.ffmpeg)
            .args(invocation.arguments)
            .stdin(if invocation.script.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        match spawned {
            Ok(mut child) => {
                if let (Some(script), Some(mut stdin)) = (invocation.script, child.stdin.take())
                    && let Err(error) = stdin.write_all(script.as_bytes()).await
                {
                    // A decoder that does not read has ended, and says why.
                    tracing::debug!(%error, "the decoder did not read its script");
                }
                self.decode(child, &mut sink).await
            }
            Err(error) => Ended::Broken(format!("cannot start {}: {error}", self.ffmpeg.display())),
        }
    }

    async fn decode(&self, mut child: Child, sink: &mut Sink<'_>) -> Ended {
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Ended::Broken("the decoder has no pipes".into());
        };
        let mut words = Vec::new();
        let read = {
            let mut listening = std::pin::pin!(last_words(stderr, &mut words));
            let mut reading = std::pin::pin!(pictures(stdout, sink));
            tokio::select! {
                read = &mut reading => {
                    // What was said last is what tells most.
                    if read.is_ok() {
                        let _ = timeout(END, listening).await;
                    }
                    read
                }
                // It closed its standard error first.
                () = &mut listening => reading.await,
            }
        };
        let status = match &read {
            Ok(()) => timeout(END, child.wait()).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        if status.is_none()
            && let Err(error) = child.kill().await
        {
            tracing::debug!(%error, "the decoder could not be killed");
        }
        match read {
            Err(reason) => Ended::Broken(reason),
            Ok(()) if status.is_some_and(|status| status.success()) => {
                Ended::Finished { pictures: sink.count() }
            }
            Ok(()) => Ended::Broken(self.scrub(&words)),
        }
    }

    /// The decoder's last line without the password that it repeats.
    fn scrub(&self, words: &[u8]) -> String {
        let text = String::from_utf8_lossy(words);
        let line =
            text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("the decoder ended").trim();
        match self.source.secret() {
            Some((url, shown)) => line.replace(url, &shown),
            None => line.to_owned(),
        }
    }
}

/// Hands on pictures until the stream ends or stalls.
async fn pictures(mut stream: impl AsyncRead + Unpin, sink: &mut Sink<'_>) -> Result<(), String> {
    let mut jpegs = Jpegs::default();
    let mut deadline = Instant::now() + STALL;
    loop {
        let buffer = jpegs.buffer();
        buffer.reserve(64 * 1024);
        match timeout_at(deadline, stream.read_buf(buffer)).await {
            Err(_) => return Err(format!("no picture for {} s", STALL.as_secs())),
            Ok(Err(error)) => return Err(format!("the decoder's pipe broke: {error}")),
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(_)) => {}
        }
        while let Some(jpeg) = jpegs.next_picture() {
            deadline = Instant::now() + STALL;
            sink.put(jpeg).await;
        }
    }
}

/// Reads everything and keeps the end.
async fn last_words(mut stream: impl AsyncRead + Unpin, words: &mut Vec<u8>) {
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        words.extend_from_slice(&piece[..length]);
        words.drain(..words.len().saturating_sub(LAST_WORDS));
    }
}

#[cfg(test)]
mod tests;
