//! Pictures from a source, for as long as wanted: the source is begun again whenever it ends or stalls.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::http::{self, Read};
use crate::latest::Latest;
use crate::picture::Picture;
use crate::sink::{Sink, tell};
use crate::source::{CameraState, Source};
use crate::{decoder, ffmpeg, folder};

/// Pauses between two tries.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The same for a camera at this machine: looking for it costs nothing, and who plugs it in waits.
const LONGEST_PAUSE_PLUGGED: Duration = Duration::from_secs(5);
/// A source that worked for so long is tried again at once when it ends.
const STEADY: Duration = Duration::from_secs(10);

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
                // Dropping the run closes its connection, or kills the decoder.
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
        let mut sink = Sink::new(pictures, states, self.fps);
        match self.play(&mut sink).await {
            Ok(pictures) => Ended::Finished { pictures },
            Err(reason) => Ended::Broken(reason),
        }
    }

    /// Hands on pictures to the end of the source, and tells how many there were.
    async fn play(&self, sink: &mut Sink<'_>) -> Result<u64, String> {
        match &self.source {
            Source::Folder { path, repeat } => {
                let played = folder::play(path, *repeat, self.fps, sink).await;
                return played.map_err(|error| format!("cannot read {}: {error}", path.display()));
            }
            Source::Http { url } => {
                if let Read::Pictures(count) = http::play(url, sink).await? {
                    return Ok(count);
                }
            }
            Source::V4l2 { device } if !Path::new(device).exists() => {
                return Err(format!(
                    "there is no {device}: plug the camera in, or name the device that it has"
                ));
            }
            Source::V4l2 { .. } | Source::Rtsp { .. } | Source::File { .. } => {}
        }
        match ffmpeg::invocation(&self.source, self.fps) {
            Some(invocation) => decoder::play(&self.ffmpeg, &self.source, invocation, sink).await,
            None => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests;
