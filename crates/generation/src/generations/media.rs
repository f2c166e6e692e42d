//! Tells files by how they begin: what a server or a client calls them proves nothing.

use super::super::assets::Kind;

/// A kind of file that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Media {
    pub(super) ending: &'static str,
    pub(super) mime: &'static str,
    pub(super) kind: Kind,
}

const fn media(ending: &'static str, mime: &'static str, kind: Kind) -> Media {
    Media { ending, mime, kind }
}

/// `None` for what is neither an image nor a video that browsers show.
pub(super) fn tell(bytes: &[u8]) -> Option<Media> {
    let at = |from: usize, wanted: &[u8]| bytes.get(from..).is_some_and(|rest| rest.starts_with(wanted));
    if at(0, b"\x89PNG\r\n\x1a\n") {
        Some(media("png", "image/png", Kind::Image))
    } else if at(0, b"\xff\xd8\xff") {
        Some(media("jpg", "image/jpeg", Kind::Image))
    } else if at(0, b"RIFF") && at(8, b"WEBP") {
        Some(media("webp", "image/webp", Kind::Image))
    } else if at(0, b"GIF8") {
        Some(media("gif", "image/gif", Kind::Image))
    } else if at(4, b"ftyp") {
        Some(media("mp4", "video/mp4", Kind::Video))
    } else if at(0, b"\x1a\x45\xdf\xa3") {
        Some(media("webm", "video/webm", Kind::Video))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_beginning() {
        let cases: [(&[u8], Option<&str>); 9] = [
            (b"\x89PNG\r\n\x1a\nrest", Some("png")),
            (b"\xff\xd8\xff\xe0", Some("jpg")),
            (b"RIFF\0\0\0\0WEBP", Some("webp")),
            (b"RIFF\0\0\0\0WAVE", None),
            (b"GIF89a", Some("gif")),
            (b"\0\0\0\x20ftypisom", Some("mp4")),
            (b"\x1a\x45\xdf\xa3", Some("webm")),
            (b"<html>", None),
            (b"", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(tell(bytes).map(|media| media.ending), expected, "{bytes:?}");
        }
    }
}
