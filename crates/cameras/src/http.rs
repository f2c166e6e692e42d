//! Pictures over HTTP: MJPEG without end, and addresses that give one picture a request.
//!
//! No boundary is looked for. Cameras announce others than they send, or none; the pictures themselves say where
//! they begin and end.

use std::io;
use std::time::Duration;

use actionbooster_http_client::{Device, DeviceError, innermost};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::io::StreamReader;

use crate::jpegs::Jpegs;
use crate::sink::Sink;
use crate::stream::{STALL, pictures};

/// From asking for one picture to asking for the next.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes that tell what something is.
const BEGINNING: usize = 16;

/// What an address gives.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// JPEGs, one or many.
    Pictures,
    /// A page for people.
    Page,
    /// A video, or a picture of another kind.
    Other,
}

/// How an address was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// It gave so many pictures and ended.
    Pictures(u64),
    /// It gives what only the decoder reads.
    Video,
}

/// Hands on the pictures of an address until it ends; one that gives a picture a request is asked again and again.
pub(crate) async fn play(url: &str, sink: &mut Sink<'_>) -> Result<Read, String> {
    let mut device = match Device::new(url) {
        Ok(device) => device,
        Err(DeviceError::Address(_)) => return Ok(Read::Video),
        Err(error) => return Err(error.to_string()),
    };
    loop {
        let next = Instant::now() + PAUSE;
        let response = match device.get().await {
            Ok(response) => response,
            // The decoder speaks older TLS, and protocols that only look like HTTP.
            Err(DeviceError::Strange(reason)) => {
                tracing::debug!(reason, "left to the decoder");
                return Ok(Read::Video);
            }
            Err(error) => return Err(error.to_string()),
        };
        let told = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let told = told.unwrap_or_default().to_owned();
        let mut body = response.bytes_stream().map_err(|error| io::Error::other(innermost(&error)));
        let until = Instant::now() + STALL;
        let mut beginning = Vec::new();
        while beginning.len() < BEGINNING {
            match timeout_at(until, body.next()).await {
                Ok(Some(Ok(bytes))) => beginning.extend_from_slice(&bytes),
                Ok(Some(Err(error))) => return Err(format!("the pictures broke off: {error}")),
                Ok(None) => break,
                Err(_) => return Err(format!("no picture for {} s", STALL.as_secs())),
            }
        }
        match kind(&told, &beginning) {
            Kind::Pictures => {}
            Kind::Page => return Err("it gives a page, not pictures; check the path of its address".into()),
            Kind::Other => return Ok(Read::Video),
        }
        let body = stream::iter([Ok(Bytes::from(beginning))]).chain(body);
        match pictures(StreamReader::new(body), Jpegs::default(), sink).await? {
            1 => sleep_until(next).await,
            count => return Ok(Read::Pictures(count)),
        }
    }
}

/// What something is by its content type and its first bytes, of which the bytes are seldom wrong.
fn kind(told: &str, beginning: &[u8]) -> Kind {
    let text = beginning.trim_ascii_start();
    let told = told.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if beginning.starts_with(b"\x89PNG") || beginning.starts_with(b"RIFF") || beginning.starts_with(b"GIF8") {
        return Kind::Other;
    }
    let pictures = ["image/jpeg", "image/jpg", "image/pjpeg", "video/mjpeg", "video/x-motion-jpeg"];
    if text.starts_with(&[0xff, 0xd8, 0xff])
        || text.starts_with(b"--")
        || told.starts_with("multipart/")
        || pictures.contains(&told.as_str())
    {
        return Kind::Pictures;
    }
    let page = text.first() == Some(&b'<') || matches!(told.as_str(), "text/html" | "application/json");
    if page { Kind::Page } else { Kind::Other }
}

#[cfg(test)]
pub(crate) mod tests;
