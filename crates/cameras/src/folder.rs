//! A folder of pictures as a source.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::jpegs::MOST_BYTES;
use crate::sink::Sink;

/// Puts the JPEG files of the folder in the order of their names, so many a second, and tells how many there were.
pub(crate) async fn play(path: &Path, repeat: bool, fps: u32, sink: &mut Sink<'_>) -> io::Result<u64> {
    let mut count = 0;
    let mut pace = interval(Duration::from_secs(1) / fps.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let files = list(path).await?;
        if files.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has no .jpg or .jpeg files"));
        }
        for file in files {
            pace.tick().await;
            let size = tokio::fs::metadata(&file).await?.len();
            if size > MOST_BYTES as u64 {
                tracing::warn!(file = %file.display(), size, "this picture is too large");
                continue;
            }
            sink.put(tokio::fs::read(&file).await?.into()).await;
            count += 1;
        }
        if !repeat {
            return Ok(count);
        }
    }
}

async fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = tokio::fs::read_dir(path).await?;
    let mut files = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        let file = entry.path();
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if ending.eq_ignore_ascii_case("jpg") || ending.eq_ignore_ascii_case("jpeg") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
