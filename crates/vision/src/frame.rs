//! Pictures as they come in, checked before anything is made of them.

use turbojpeg::{Decompressor, Image, PixelFormat};

use crate::Error;

/// Pixels of a side at most: twice the width of the largest common cameras.
pub const MOST_SIDE: u32 = 8192;
/// Pixels of a picture at most, 48 MB as RGB.
pub const MOST_PIXELS: u64 = 16 * 1024 * 1024;

/// Passes over a progressive JPEG at most; files are made that take hours with thousands of them.
const MOST_SCANS: u32 = 100;

/// How the bytes of a picture are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Format {
    /// A whole JPEG file; its own size counts.
    Jpeg,
    /// Three bytes a pixel, rows from the top without gaps.
    Rgb,
    /// The same in the order blue, green, red.
    Bgr,
    /// A plane of luma, then one of interleaved Cb and Cr at half the size (BT.601, limited range).
    Nv12,
}

/// A picture.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// How `data` is to be read.
    pub format: Format,
    /// In pixels; for JPEG 0, or what the file says.
    pub width: u32,
    /// As `width`.
    pub height: u32,
    /// The picture.
    pub data: &'a [u8],
}

/// Pixels of three bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pixels<'a> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Red comes first; else blue.
    pub(crate) red_first: bool,
    pub(crate) data: &'a [u8],
}

/// Turns frames into pixels, in memory that only ever grows.
///
/// JPEG is decoded by libjpeg-turbo: it is what detectors are trained and measured with, and decoders that round
/// otherwise move scores by some hundredths.
pub(crate) struct Decoder {
    room: Vec<u8>,
    jpeg: Decompressor,
}

impl Decoder {
    pub(crate) fn new() -> Result<Self, Error> {
        let wrong = |error: turbojpeg::Error| Error::Runtime(format!("JPEG cannot be decoded here: {error}"));
        let mut jpeg = Decompressor::new().map_err(wrong)?;
        jpeg.set_scan_limit(MOST_SCANS).map_err(wrong)?;
        Ok(Self { room: Vec::new(), jpeg })
    }

    /// The picture's pixels.
    pub(crate) fn pixels<'b>(&'b mut self, frame: &Frame<'b>) -> Result<Pixels<'b>, Error> {
        match frame.format {
            Format::Jpeg => decode(frame, &mut self.jpeg, &mut self.room),
            _ => frame.pixels(&mut self.room),
        }
    }
}

impl<'a> Frame<'a> {
    fn pixels<'b>(&self, room: &'b mut Vec<u8>) -> Result<Pixels<'b>, Error>
    where
        'a: 'b,
    {
        let (width, height) = checked(self.width, self.height)?;
        let expected = match self.format {
            Format::Nv12 if !width.is_multiple_of(2) || !height.is_multiple_of(2) => {
                return Err(Error::Frame(format!("an NV12 picture of {width}x{height}; both must be even")));
            }
            Format::Nv12 => bytes(width, height) / 2,
            _ => bytes(width, height),
        };
        if self.data.len() != expected {
            return Err(Error::Frame(format!(
                "{} bytes for a picture of {width}x{height}; it must have {expected}",
                self.data.len()
            )));
        }
        if self.format == Format::Nv12 {
            nv12_to_rgb(width as usize, self.data, room_for(room, bytes(width, height)));
            return Ok(Pixels { width, height, red_first: true, data: &room[..bytes(width, height)] });
        }
        Ok(Pixels { width, height, red_first: self.format == Format::Rgb, data: self.data })
    }
}

/// Refuses sizes that no camera has, before any memory is taken for them.
fn checked(width: u32, height: u32) -> Result<(u32, u32), Error> {
    if width == 0 || height == 0 {
        return Err(Error::Frame(format!("a picture of {width}x{height} pixels")));
    }
    if width > MOST_SIDE || height > MOST_SIDE || u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(Error::Frame(format!(
            "a picture of {width}x{height}; at most {MOST_SIDE} pixels a side and {} million in all",
            MOST_PIXELS >> 20
        )));
    }
    Ok((width, height))
}

const fn bytes(width: u32, height: u32) -> usize {
    width as usize * height as usize * 3
}

fn room_for(room: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if room.len() < bytes {
        room.resize(bytes, 0);
    }
    &mut room[..bytes]
}

fn decode<'b>(
    frame: &Frame<'_>,
    jpeg: &mut Decompressor,
    room: &'b mut Vec<u8>,
) -> Result<Pixels<'b>, Error> {
    let wrong = |error: turbojpeg::Error| Error::Frame(format!("a damaged JPEG: {error}"));
    let head = jpeg.read_header(frame.data).map_err(wrong)?;
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let (width, height) = checked(side(head.width), side(head.height))?;
    let told = (frame.width, frame.height);
    if told != (0, 0) && told != (width, height) {
        return Err(Error::Frame(format!(
            "a JPEG of {width}x{height} pixels where {}x{} were announced",
            told.0, told.1
        )));
    }
    let pixels = room_for(room, bytes(width, height));
    let image = Image {
        pixels: &mut *pixels,
        width: head.width,
        pitch: head.width * 3,
        height: head.height,
        format: PixelFormat::RGB,
    };
    jpeg.decompress(frame.data, image).map_err(wrong)?;
    Ok(Pixels { width, height, red_first: true, data: pixels })
}

/// BT.601 with limited range, in fixed point with 8 bits.
fn nv12_to_rgb(width: usize, data: &[u8], rgb: &mut [u8]) {
    let luma = rgb.len() / 3;
    let (y_plane, uv_plane) = data.split_at(luma);
    for (row, (y_row, out)) in y_plane.chunks_exact(width).zip(rgb.chunks_exact_mut(width * 3)).enumerate() {
        let uv_row = &uv_plane[(row / 2) * width..][..width];
        for ((ys, uv), out) in y_row.chunks_exact(2).zip(uv_row.chunks_exact(2)).zip(out.chunks_exact_mut(6))
        {
            let (u, v) = (i32::from(uv[0]) - 128, i32::from(uv[1]) - 128);
            let (red, green, blue) = (409 * v, -100 * u - 208 * v, 516 * u);
            for (y, pixel) in ys.iter().zip(out.chunks_exact_mut(3)) {
                let y = 298 * (i32::from(*y) - 16) + 128;
                let byte = |value: i32| ((y + value) >> 8).clamp(0, 255) as u8;
                pixel.copy_from_slice(&[byte(red), byte(green), byte(blue)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(frame: Frame<'_>) -> Result<(u32, u32, Vec<u8>), String> {
        let mut decoder = Decoder::new().expect("decoder");
        let pixels = decoder.pixels(&frame).map_err(|error| error.to_string())?;
        Ok((pixels.width, pixels.height, pixels.data.to_vec()))
    }

    #[test]
    fn pictures_that_are_not_what_they_say_are_refused() {
        let cases: [(Format, u32, u32, usize, &str); 7] = [
            (Format::Rgb, 2, 2, 11, "must have 12"),
            (Format::Bgr, 2, 2, 13, "must have 12"),
            (Format::Rgb, 0, 2, 0, "0x2 pixels"),
            (Format::Rgb, 70_000, 1, 210_000, "at most 8192"),
            (Format::Rgb, 8192, 8192, 0, "16 million"),
            (Format::Nv12, 3, 2, 9, "both must be even"),
            (Format::Nv12, 4, 4, 25, "must have 24"),
        ];
        for (format, width, height, length, word) in cases {
            let data = vec![0; length];
            let error = pixels(Frame { format, width, height, data: &data }).expect_err(word);
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn nv12_becomes_the_colours_it_stands_for() {
        // Black, white and pure red in limited range.
        for (yuv, expected) in
            [([16, 128, 128], [0, 0, 0]), ([235, 128, 128], [255; 3]), ([81, 90, 240], [255, 0, 0])]
        {
            let data = [yuv[0], yuv[0], yuv[0], yuv[0], yuv[1], yuv[2]];
            let (_, _, rgb) =
                pixels(Frame { format: Format::Nv12, width: 2, height: 2, data: &data }).expect("right");
            for pixel in rgb.chunks(3) {
                let close = pixel
                    .iter()
                    .zip(expected)
                    .all(|(have, want): (&u8, i32)| (i32::from(*have) - want).abs() <= 2);
                assert!(close, "{yuv:?}: {pixel:?}");
            }
        }
    }

    #[test]
    fn a_jpeg_that_lies_about_its_size_is_refused_before_it_is_decoded() {
        // SOI, a frame header of 65,500 x 65,500 pixels, and nothing behind it.
        let bomb = [
            0xff, 0xd8, 0xff, 0xc0, 0, 17, 8, 0xff, 0xdc, 0xff, 0xdc, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1,
            0xff, 0xd9,
        ];
        for (name, data) in
            [("bomb", &bomb[..]), ("nothing", &[]), ("text", b"not a jpeg"), ("start", &bomb[..2])]
        {
            let mut decoder = Decoder::new().expect("decoder");
            let frame = Frame { format: Format::Jpeg, width: 0, height: 0, data };
            assert!(decoder.pixels(&frame).is_err(), "{name}");
            assert!(decoder.room.is_empty(), "{name} took memory");
        }
    }
}
