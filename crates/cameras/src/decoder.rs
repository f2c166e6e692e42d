//! The decoder at work: started for a source, read to its end, and its last words told.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::ffmpeg::Invocation;
use crate::jpegs::Jpegs;
use crate::sink::Sink;
use crate::source::Source;
use crate::stream::pictures;

/// Bytes of its last words that are kept.
const LAST_WORDS: usize = 2000;
/// How long it may take to be gone once it ended, and its last words to be read.
const END: Duration = Duration::from_secs(2);

/// Hands on the pictures that the decoder makes of a source, and tells how many there were. Dropped, it is killed.
pub(crate) async fn play(
    ffmpeg: &Path,
    source: &Source,
    invocation: Invocation,
    sink: &mut Sink<'_>,
) -> Result<u64, String> {
    let mut child = Command::new(ffmpeg)
        .args(invocation.arguments)
        .stdin(if invocation.script.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", ffmpeg.display()))?;
    if let (Some(script), Some(mut stdin)) = (invocation.script, child.stdin.take())
        && let Err(error) = stdin.write_all(script.as_bytes()).await
    {
        // One that does not read has ended, and says why.
        tracing::debug!(%error, "the decoder did not read its script");
    }
    decode(child, source, sink).await
}

async fn decode(mut child: Child, source: &Source, sink: &mut Sink<'_>) -> Result<u64, String> {
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("the decoder has no pipes".into());
    };
    let mut words = Vec::new();
    let read = {
        let mut listening = std::pin::pin!(last_words(stderr, &mut words));
        let mut reading = std::pin::pin!(pictures(stdout, Jpegs::default(), sink));
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
        Ok(_) => timeout(END, child.wait()).await.ok().and_then(Result::ok),
        Err(_) => None,
    };
    if status.is_none()
        && let Err(error) = child.kill().await
    {
        tracing::debug!(%error, "the decoder could not be killed");
    }
    let count = read?;
    if status.is_some_and(|status| status.success()) { Ok(count) } else { Err(scrub(source, &words)) }
}

/// The decoder's last line without the password that it repeats.
fn scrub(source: &Source, words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("the decoder ended").trim();
    match source.secret() {
        Some((url, shown)) => line.replace(url, &shown),
        None => line.to_owned(),
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
