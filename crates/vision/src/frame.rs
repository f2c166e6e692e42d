//! Pictures as they come in, checked before anything is made of them.

use crate::jpeg::{Jpeg, exif};
use crate::{Error, files};

/// Pixels of a side at most: twice the width of the largest common cameras.
pub const MOST_SIDE: u32 = 8192;
/// Pixels of a picture at most, 48 MB as RGB.
pub const MOST_PIXELS: u64 = 16 * 1024 * 1024;
/// Pixels of a JPEG at most: one that is larger than others may be is decoded at a part of its size.
pub const MOST_JPEG_PIXELS: u64 = 128 * 1024 * 1024;

/// The same of a progressive one, which must lie in memory whole: 192 MB.
const MOST_PROGRESSIVE_PIXELS: u64 = 32 * 1024 * 1024;

/// How the bytes of a picture are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Format {
    /// A whole JPEG file; its own size counts. It is turned as its Exif block says.
    Jpeg,
    /// A whole PNG file, likewise.
    Png,
    /// A whole WebP file, likewise.
    Webp,
    /// Three bytes a pixel, rows from the top without gaps.
    Rgb,
    /// The same in the order blue, green, red.
    Bgr,
    /// A plane of luma, then one of interleaved Cb and Cr at half the size (BT.601, limited range).
    Nv12,
}

impl Format {
    /// The format of a file by its first bytes.
    pub fn of(file: &[u8]) -> Option<Self> {
        match file {
            [0xff, 0xd8, ..] => Some(Self::Jpeg),
            [0x89, b'P', b'N', b'G', ..] => Some(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::Webp),
            _ => None,
        }
    }
}

/// A picture.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// How `data` is to be read.
    pub format: Format,
    /// In pixels; for files 0, or what the file says.
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

/// A picture's pixels, and the size that they stand for: they may be fewer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoded<'a> {
    pub(crate) pixels: Pixels<'a>,
    pub(crate) size: (u32, u32),
}

/// Turns frames into pixels, in memory that is kept.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    room: Vec<u8>,
}

impl Decoder {
    /// The picture's pixels.
    pub(crate) fn decode<'b>(&'b mut self, frame: &Frame<'b>) -> Result<Decoded<'b>, Error> {
        match frame.format {
            Format::Jpeg => self.jpeg(frame),
            Format::Png => self.file(frame, files::png(frame.data)?),
            Format::Webp => self.file(frame, files::webp(frame.data)?),
            Format::Rgb | Format::Bgr | Format::Nv12 => {
                let pixels = frame.pixels(&mut self.room)?;
                Ok(Decoded { pixels, size: (pixels.width, pixels.height) })
            }
        }
    }

    fn jpeg(&mut self, frame: &Frame<'_>) -> Result<Decoded<'_>, Error> {
        let damaged = |error| Error::Frame(format!("a damaged JPEG: {error}"));
        let opened = Jpeg::open(frame.data).map_err(damaged)?;
        let told = opened.size();
        let part = part_of(told, opened.is_progressive())?;
        let decoded = opened.part(part);
        opened.decode(part, &mut self.room).map_err(damaged)?;
        let turned = exif(frame.data).and_then(|tiff| files::turn(tiff, decoded, told, &mut self.room));
        let (shown, size) = turned.unwrap_or((decoded, told));
        self.whole(frame, shown, told, size)
    }

    fn file(&mut self, frame: &Frame<'_>, file: (image::RgbImage, (u32, u32))) -> Result<Decoded<'_>, Error> {
        let (image, told) = file;
        let shown = image.dimensions();
        self.room = image.into_raw();
        self.whole(frame, shown, told, shown)
    }

    /// A picture of `shown` pixels in the room, which stand for `size`; its file tells `told`.
    fn whole(
        &self,
        frame: &Frame<'_>,
        shown: (u32, u32),
        told: (u32, u32),
        size: (u32, u32),
    ) -> Result<Decoded<'_>, Error> {
        let announced = (frame.width, frame.height);
        if announced != (0, 0) && announced != told && announced != size {
            return Err(Error::Frame(format!(
                "a file of {}x{} pixels where {}x{} were announced",
                told.0, told.1, announced.0, announced.1
            )));
        }
        let (width, height) = shown;
        let data = &self.room[..bytes(width, height)];
        Ok(Decoded { pixels: Pixels { width, height, red_first: true, data }, size })
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
pub(crate) fn checked(width: u32, height: u32) -> Result<(u32, u32), Error> {
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

/// At which part of its size a JPEG is decoded: at its own, where others may have it too.
fn part_of((width, height): (u32, u32), progressive: bool) -> Result<u32, Error> {
    let pixels = u64::from(width) * u64::from(height);
    if progressive && pixels > MOST_PROGRESSIVE_PIXELS {
        return Err(Error::Frame(format!(
            "a progressive JPEG of {width}x{height}; at most {} million pixels, or save it as a baseline JPEG",
            MOST_PROGRESSIVE_PIXELS >> 20
        )));
    }
    if pixels > MOST_JPEG_PIXELS {
        return Err(Error::Frame(format!(
            "a picture of {width}x{height}; at most {} million pixels",
            MOST_JPEG_PIXELS >> 20
        )));
    }
    let fits = |part: &u32| checked(width.div_ceil(*part), height.div_ceil(*part)).is_ok();
    match [1, 2, 4, 8].into_iter().find(fits) {
        Some(part) => Ok(part),
        None => checked(width, height).map(|_| 1),
    }
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
mod tests;
