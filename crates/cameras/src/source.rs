//! Where a camera's pictures come from.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::address::{Address, HIDDEN};

/// Characters of an address or path at most.
const MOST: usize = 1000;

/// A source of pictures. Its `Debug` and `Display` leave out the password of an address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A camera at this machine.
    V4l2 {
        /// `/dev/video0`, for example.
        device: String,
    },
    /// A camera in the network.
    Rtsp {
        /// `rtsp://` or `rtsps://`, with user and password where it wants them.
        url: String,
    },
    /// A camera in the network that gives MJPEG, or one picture a request.
    Http {
        /// `http://` or `https://`.
        url: String,
    },
    /// A video.
    File {
        /// Absolute.
        path: PathBuf,
        /// Whether it begins again at its end.
        #[serde(default)]
        repeat: bool,
    },
    /// JPEG files, in the order of their names.
    Folder {
        /// Absolute.
        path: PathBuf,
        /// Whether it begins again after the last.
        #[serde(default)]
        repeat: bool,
    },
}

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CameraState {
    /// It is begun.
    Connecting,
    /// Pictures come.
    Live,
    /// It broke, and is tried again.
    Lost {
        /// Why.
        reason: String,
    },
    /// A video or folder that is not repeated is at its end.
    Ended,
}

impl Source {
    /// Says what is wrong with it, if anything is.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::V4l2 { device } => {
                let number = device.strip_prefix("/dev/video").unwrap_or_default();
                let fits =
                    (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
                fits.then_some(()).ok_or_else(|| format!("a device is called /dev/video0, not \"{device}\""))
            }
            Self::Rtsp { url } => address(url, &["rtsp", "rtsps"]),
            Self::Http { url } => address(url, &["http", "https"]),
            Self::File { path, .. } | Self::Folder { path, .. } => absolute(path),
        }
    }

    /// The address of one in the network.
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Rtsp { url } | Self::Http { url } => Some(url),
            Self::V4l2 { .. } | Self::File { .. } | Self::Folder { .. } => None,
        }
    }

    /// The same with another address, where it has one.
    #[must_use]
    pub fn with_url(self, url: String) -> Self {
        match self {
            Self::Rtsp { .. } => Self::Rtsp { url },
            Self::Http { .. } => Self::Http { url },
            other => other,
        }
    }

    /// What must not appear in a log, and what may instead.
    pub(crate) fn secret(&self) -> Option<(&str, String)> {
        self.url().map(|url| (url, without_login(url)))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4l2 { device } => out.write_str(device),
            Self::Rtsp { url } | Self::Http { url } => out.write_str(&without_login(url)),
            Self::File { path, .. } | Self::Folder { path, .. } => path.display().fmt(out),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Source({self})")
    }
}

/// Neither user nor secrets.
fn without_login(url: &str) -> String {
    let Some(address) = Address::parse(url) else { return url.to_owned() };
    let hidden = address.hidden();
    let Some((scheme, rest)) = hidden.split_once("://") else { return hidden };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}{path}"),
        None => hidden,
    }
}

fn address(url: &str, schemes: &[&str]) -> Result<(), String> {
    let wanted = || format!("use an address that begins with {}://", schemes.join(":// or "));
    let (scheme, rest) = url.split_once("://").ok_or_else(wanted)?;
    if !schemes.contains(&scheme) {
        return Err(wanted());
    }
    if url.len() > MOST {
        return Err(format!("use an address of at most {MOST} characters"));
    }
    if url.chars().any(|char| char.is_whitespace() || char.is_control()) {
        return Err("an address has no spaces; write %20 instead".into());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    // An IPv6 address stands in brackets and has colons of its own.
    let (host, port) = match place.rsplit_once(']') {
        Some((host, port)) => (host.trim_start_matches('['), port.strip_prefix(':')),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("the address names no host".into());
    }
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => Ok(()),
        Some(_) => Err("the port of the address is no number between 1 and 65535".into()),
    }
}

fn absolute(path: &Path) -> Result<(), String> {
    let text = path.as_os_str().as_encoded_bytes();
    if !path.is_absolute() || text.contains(&0) || text.len() > MOST {
        return Err(format!("use an absolute path, not \"{}\"", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_devices_that_make_sense_pass() {
        let v4l2 = |device: &str| Source::V4l2 { device: device.into() };
        let rtsp = |url: &str| Source::Rtsp { url: url.into() };
        let http = |url: &str| Source::Http { url: url.into() };
        let file = |path: &str| Source::File { path: path.into(), repeat: false };
        let cases = [
            (v4l2("/dev/video0"), true),
            (v4l2("/dev/video12"), true),
            (v4l2("/dev/video"), false),
            (v4l2("/dev/video0/../sda"), false),
            (v4l2("video0"), false),
            (v4l2("-i"), false),
            (rtsp("rtsp://10.0.0.2/live"), true),
            (rtsp("rtsps://user:p%40ss@cam.local:322/a?b=c"), true),
            (rtsp("rtsp://[fe80::1]:554/a"), true),
            (rtsp("rtsp://[fe80::1]/a"), true),
            (rtsp("http://10.0.0.2/live"), false),
            (rtsp("file:///etc/passwd"), false),
            (rtsp("rtsp://"), false),
            (rtsp("rtsp://:554/a"), false),
            (rtsp("rtsp://cam:0/a"), false),
            (rtsp("rtsp://cam:99999/a"), false),
            (rtsp("rtsp://cam/a b"), false),
            (rtsp("concat:rtsp://a|/etc/passwd"), false),
            (http("http://cam/snapshot.jpg"), true),
            (http("https://cam/mjpeg"), true),
            (http("ftp://cam/mjpeg"), false),
            (http(&format!("http://cam/{}", "x".repeat(1000))), false),
            (file("/srv/a.mp4"), true),
            (file("a.mp4"), false),
            (file("concat:/a|/b"), false),
            (file("/srv/a\0b"), false),
            (Source::Folder { path: "/srv/pictures".into(), repeat: true }, true),
            (Source::Folder { path: "pictures".into(), repeat: true }, false),
        ];
        for (source, fits) in cases {
            assert_eq!(source.check().is_ok(), fits, "{source}: {:?}", source.check());
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let cases = [
            ("rtsp://user:secret@cam/a@b", "rtsp://***@cam/a@b"),
            ("rtsp://user:sec@ret@cam:554", "rtsp://***@cam:554"),
            ("rtsp://cam/a", "rtsp://cam/a"),
            ("http://cam/a?user=me&pwd=secret", "http://cam/a?user=me&pwd=***"),
        ];
        for (url, shown) in cases {
            let source = Source::Rtsp { url: url.into() };
            assert_eq!(source.to_string(), shown);
            assert_eq!(format!("{source:?}"), format!("Source({shown})"));
        }
    }
}
