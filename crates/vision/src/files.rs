//! Pictures that come as files: PNG and WebP, and which way up a file wants to be seen.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, Limits, RgbImage};

use crate::Error;
use crate::frame::{MOST_PIXELS, MOST_SIDE, checked};

/// Bytes that decoding may take, eight a pixel.
const MOST_MEMORY: u64 = 8 * MOST_PIXELS;

/// A PNG as RGB, the right way up, and the size that its file tells. What is transparent counts as what it covers.
pub(crate) fn png(data: &[u8]) -> Result<(RgbImage, (u32, u32)), Error> {
    let mut limits = Limits::no_limits();
    (limits.max_image_width, limits.max_image_height) = (Some(MOST_SIDE), Some(MOST_SIDE));
    limits.max_alloc = Some(MOST_MEMORY);
    let decoder = PngDecoder::with_limits(Cursor::new(data), limits);
    decode(decoder.map_err(|error| damaged("PNG", &error))?, "PNG")
}

/// The same of a WebP; the first picture of one that moves.
pub(crate) fn webp(data: &[u8]) -> Result<(RgbImage, (u32, u32)), Error> {
    decode(WebPDecoder::new(Cursor::new(data)).map_err(|error| damaged("WebP", &error))?, "WebP")
}

fn decode(mut decoder: impl ImageDecoder, kind: &str) -> Result<(RgbImage, (u32, u32)), Error> {
    let size = decoder.dimensions();
    checked(size.0, size.1)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| damaged(kind, &error))?;
    image.apply_orientation(orientation);
    Ok((image.into_rgb8(), size))
}

fn damaged(kind: &str, error: &ImageError) -> Error {
    Error::Frame(format!("a damaged {kind}: {error}"))
}

/// Turns RGB in `room` the way up that a JPEG's Exif block says, and tells its size then and that of a picture of
/// the size `told`; nothing where it is the right way up.
pub(crate) fn turn(
    tiff: &[u8],
    size: (u32, u32),
    told: (u32, u32),
    room: &mut Vec<u8>,
) -> Option<((u32, u32), (u32, u32))> {
    let orientation = Orientation::from_exif_chunk(tiff)?;
    if orientation == Orientation::NoTransforms {
        return None;
    }
    let mut image = DynamicImage::ImageRgb8(RgbImage::from_raw(size.0, size.1, std::mem::take(room))?);
    image.apply_orientation(orientation);
    let shown = (image.width(), image.height());
    *room = image.into_rgb8().into_raw();
    // Exif counts the quarter turns from 5 on.
    let sideways = orientation.to_exif() >= 5;
    Some((shown, if sideways { (told.1, told.0) } else { told }))
}
