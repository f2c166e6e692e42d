//! Whole JPEG files out of a stream of them, as `ffmpeg -f image2pipe -c:v mjpeg` writes it.
//!
//! The markers are followed (ITU-T T.81, annex B), so an EOI within a thumbnail does not end a picture, and
//! after bytes that are none of this the next picture is found again.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a picture at most.
pub const MOST_BYTES: usize = 16 * 1024 * 1024;

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
/// What the header of a scan of one to four components may be long.
const SCAN_HEADERS: [u16; 4] = [8, 10, 12, 14];
/// Markers that stand alone: TEM, and the restarts within a scan.
const TEM: u8 = 0x01;
const RESTARTS: std::ops::RangeInclusive<u8> = 0xd0..=0xd7;

/// Cuts a stream into pictures.
#[derive(Debug)]
pub struct Jpegs {
    buffer: BytesMut,
    /// Bytes of the buffer that have been followed.
    at: usize,
    place: Place,
    most: usize,
    skipped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between pictures.
    Outside,
    /// At a marker within a picture. `scanned`: it has image data.
    Marker { scanned: bool },
    /// Within the data of a scan.
    Data,
}

impl Default for Jpegs {
    fn default() -> Self {
        Self::new(MOST_BYTES)
    }
}

impl Jpegs {
    /// Gives up a picture of more than `most` bytes.
    pub fn new(most: usize) -> Self {
        Self { buffer: BytesMut::new(), at: 0, place: Place::Outside, most, skipped: 0 }
    }

    /// Where to read into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes that belonged to no whole picture so far.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next picture that is whole; call again until there is none.
    pub fn next_picture(&mut self) -> Option<Bytes> {
        loop {
            match self.step() {
                Step::More => {
                    if self.place != Place::Outside && self.buffer.len() > self.most {
                        self.skip(self.buffer.len().min(self.at.max(2)));
                        continue;
                    }
                    return None;
                }
                Step::Went => {}
                // Copied, so that who keeps a picture keeps that picture's bytes only.
                Step::Picture => {
                    let picture =
                        (self.at <= self.most).then(|| Bytes::copy_from_slice(&self.buffer[..self.at]));
                    self.buffer.advance(self.at);
                    if picture.is_none() {
                        self.skipped += self.at as u64;
                    }
                    self.at = 0;
                    self.place = Place::Outside;
                    if picture.is_some() {
                        return picture;
                    }
                }
            }
        }
    }

    fn step(&mut self) -> Step {
        match self.place {
            Place::Outside => self.find(),
            Place::Marker { scanned } => self.marker(scanned),
            Place::Data => self.data(),
        }
    }

    /// Goes on to an SOI that another marker follows.
    fn find(&mut self) -> Step {
        let found = self.buffer.windows(3).position(|three| three == [0xff, SOI, 0xff]);
        let Some(start) = found else {
            // The last two bytes may begin one.
            self.skip(self.buffer.len().saturating_sub(2));
            return Step::More;
        };
        self.skip(start);
        self.at = 2;
        self.place = Place::Marker { scanned: false };
        Step::Went
    }

    fn marker(&mut self, scanned: bool) -> Step {
        let rest = &self.buffer[self.at.min(self.buffer.len())..];
        let code = match rest {
            [] | [0xff] => return Step::More,
            // Any number of these may stand before a marker.
            [0xff, 0xff, ..] => {
                self.at += 1;
                return Step::Went;
            }
            [0xff, code, ..] => *code,
            _ => return self.resume(2),
        };
        match code {
            EOI if scanned => {
                self.at += 2;
                return Step::Picture;
            }
            // Another begins: this one was cut off.
            SOI if scanned => return self.resume(self.at),
            // What cannot stand here: a length led astray, or there never was a picture.
            0 | SOI | EOI => return self.resume(2),
            TEM => self.at += 2,
            _ if RESTARTS.contains(&code) => self.at += 2,
            _ => {
                let [_, _, high, low, ..] = rest else { return Step::More };
                let length = u16::from_be_bytes([*high, *low]);
                if length < 2 || (code == SOS && !SCAN_HEADERS.contains(&length)) {
                    return self.resume(2);
                }
                self.at += 2 + usize::from(length);
                if code == SOS {
                    self.place = Place::Data;
                }
            }
        }
        Step::Went
    }

    /// Goes on to a marker that is neither a stuffed byte nor a restart.
    fn data(&mut self) -> Step {
        loop {
            let Some(rest) = self.buffer.get(self.at..) else { return Step::More };
            let Some(next) = rest.iter().position(|byte| *byte == 0xff) else {
                self.at = self.buffer.len();
                return Step::More;
            };
            self.at += next;
            match self.buffer.get(self.at + 1) {
                None => return Step::More,
                Some(0xff) => self.at += 1,
                Some(0) => self.at += 2,
                Some(code) if RESTARTS.contains(code) => self.at += 2,
                Some(_) => {
                    self.place = Place::Marker { scanned: true };
                    return Step::Went;
                }
            }
        }
    }

    /// Gives this picture up and looks for another behind `bytes` of it.
    fn resume(&mut self, bytes: usize) -> Step {
        self.skip(bytes);
        Step::Went
    }

    fn skip(&mut self, bytes: usize) {
        let bytes = bytes.min(self.buffer.len());
        self.skipped += bytes as u64;
        self.buffer.advance(bytes);
        self.at = 0;
        self.place = Place::Outside;
    }
}

enum Step {
    /// More bytes are needed.
    More,
    /// There may be more to do at once.
    Went,
    /// A picture ends where we are.
    Picture,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A picture with everything that may mislead: a thumbnail, stuffing, restarts, fill bytes, two scans.
    pub(crate) fn picture(number: u8) -> Vec<u8> {
        let mut bytes = vec![0xff, SOI];
        // APP1 with a thumbnail in it: SOI and EOI that do not count.
        bytes.extend([0xff, 0xe1, 0, 10, 0xff, SOI, 0xff, SOS, number, 0, 0xff, EOI]);
        // A comment that ends in half a marker, then fill bytes.
        bytes.extend([0xff, 0xfe, 0, 3, 0xff, 0xff, 0xff, 0xff, SOS, 0, 8, 1, 1, 0, 0, 63, 0]);
        bytes.extend([number, 0xff, 0, EOI, 0xff, 0xd0, 7, 0xff, 0xd7, 0xff, 0]);
        // Tables, then another scan.
        bytes.extend([0xff, 0xc4, 0, 4, 0xff, EOI, 0xff, SOS, 0, 8, 1, 1, 0, 1, 5, 0, 9, 9, 0xff, 0xff, EOI]);
        bytes
    }

    fn all(splitter: &mut Jpegs) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| splitter.next_picture()).map(|picture| picture.to_vec()).collect()
    }

    fn split(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, u64) {
        let mut splitter = Jpegs::default();
        let mut pictures = Vec::new();
        for bytes in stream.chunks(piece) {
            splitter.buffer().extend_from_slice(bytes);
            pictures.extend(all(&mut splitter));
        }
        (pictures, splitter.skipped())
    }

    #[test]
    fn pictures_come_out_whole_however_the_stream_is_cut() {
        let stream = [picture(1), picture(2), picture(3)].concat();
        for piece in 1..=stream.len() {
            let (pictures, skipped) = split(&stream, piece);
            assert_eq!(pictures, [picture(1), picture(2), picture(3)], "in pieces of {piece}");
            assert_eq!(skipped, 0);
        }
        // Cut once, at every byte.
        for cut in 0..stream.len() {
            let mut splitter = Jpegs::default();
            splitter.buffer().extend_from_slice(&stream[..cut]);
            let mut pictures = all(&mut splitter);
            splitter.buffer().extend_from_slice(&stream[cut..]);
            pictures.extend(all(&mut splitter));
            assert_eq!(pictures.len(), 3, "cut at {cut}");
        }
    }

    #[test]
    fn the_next_picture_is_found_after_what_is_none() {
        let whole = picture(1);
        // Picture 1 that breaks off at every byte, then whole ones. A length that was cut may be taken from
        // what follows and say up to 64 KiB; what was passed over is looked at again.
        let following: Vec<Vec<u8>> = (0..1500).map(|number| picture((number % 200) as u8)).collect();
        for end in 0..whole.len() {
            let stream = [&whole[..end], &following.concat()].concat();
            let (pictures, _) = split(&stream, 9973);
            // By chance it may end at a marker, and what lies between is lost.
            assert!(pictures.ends_with(&following[10..]), "broken off after {end} bytes");
        }
        let cases: [(&str, &[u8]); 6] = [
            ("text", b"HTTP/1.1 200 OK\r\n\r\n"),
            ("an end without a beginning", &[0xff, EOI, 0xff, EOI]),
            ("a picture without a picture", &[0xff, SOI, 0xff, EOI]),
            ("beginnings", &[0xff, SOI, 0xff, SOI, 0xff, SOI]),
            ("a segment of impossible length", &[0xff, SOI, 0xff, 0xe0, 0, 1]),
            ("half a marker", &[0xff]),
        ];
        for (name, garbage) in cases {
            let stream = [garbage, &picture(1), garbage, &picture(2)].concat();
            for piece in [1, 2, 3, stream.len()] {
                let (pictures, skipped) = split(&stream, piece);
                assert_eq!(pictures, [picture(1), picture(2)], "{name} in pieces of {piece}");
                assert_eq!(skipped, 2 * garbage.len() as u64, "{name} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_picture_that_never_ends_takes_no_more_than_allowed() {
        let most = 1000;
        let mut splitter = Jpegs::new(most);
        splitter.buffer().extend_from_slice(&[0xff, SOI, 0xff, SOS, 0, 8, 1, 1, 0, 0, 63, 0]);
        for _ in 0..100 {
            splitter.buffer().extend_from_slice(&[0x55; 100]);
            assert_eq!(splitter.next_picture(), None);
            assert!(splitter.buffer.len() <= most, "{}", splitter.buffer.len());
        }
        splitter.buffer().extend_from_slice(&picture(5));
        assert_eq!(all(&mut splitter), [picture(5)]);
        // One that comes whole and is too large is left out too.
        let mut small = Jpegs::new(picture(1).len() - 1);
        small.buffer().extend_from_slice(&picture(1));
        assert_eq!(small.next_picture(), None);
    }
}
