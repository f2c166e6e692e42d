//! JPEG by libjpeg-turbo, which is what detectors are trained and measured with; decoders that round otherwise move
//! scores by some hundredths.
//!
//! Its plain interface is used, because only that tells a warning from an error: webcams and phones write files that
//! it warns of, and every viewer shows them.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use turbojpeg::raw;

/// Passes over a progressive JPEG at most; files are made that take hours with thousands of them.
const MOST_SCANS: i32 = 100;
/// Megabytes that it may take besides the pixels: a progressive picture lies there whole, six bytes a pixel at most.
const MOST_MEMORY: i32 = 224;
/// What stands in the last row until the last row is decoded. No picture has it, or it is refused without need.
const NOT_YET: [u8; 7] = [0, 255, 90, 165, 1, 254, 60];

/// A picture whose beginning has been read.
///
/// Each has a decoder of its own. One that is used again keeps what the picture before has left: its tables, its
/// size after an error in the next one's beginning, and the place where it broke off.
#[derive(Debug)]
pub(crate) struct Jpeg<'a> {
    handle: Handle,
    data: &'a [u8],
    length: raw::size_t,
    size: (u32, u32),
    /// Whether it has four inks instead of three colours.
    inks: bool,
    /// Whether it knows no parts of its size.
    lossless: bool,
    progressive: bool,
}

impl<'a> Jpeg<'a> {
    /// Reads a picture's beginning.
    #[expect(unsafe_code, reason = "a library in C")]
    pub(crate) fn open(data: &'a [u8]) -> Result<Self, String> {
        let handle = Handle::new()?;
        let length = data.len().try_into().map_err(|_| "it is too long")?;
        // SAFETY: a decoder that lives, and bytes that stay while it reads them.
        let read = unsafe { raw::tj3DecompressHeader(handle.0.as_ptr(), data.as_ptr(), length) };
        // It has no size, -1, until a beginning has been read to its end, with warnings or without.
        let side = |parameter| u32::try_from(handle.get(parameter)).unwrap_or(0);
        let (width, height) = (side(raw::TJPARAM_TJPARAM_JPEGWIDTH), side(raw::TJPARAM_TJPARAM_JPEGHEIGHT));
        if (read != 0 && !handle.warned()) || width == 0 || height == 0 {
            return Err(handle.error());
        }
        let colours = handle.get(raw::TJPARAM_TJPARAM_COLORSPACE);
        let inks = [raw::TJCS_TJCS_CMYK.cast_signed(), raw::TJCS_TJCS_YCCK.cast_signed()].contains(&colours);
        let lossless = handle.get(raw::TJPARAM_TJPARAM_LOSSLESS) != 0;
        let progressive = handle.get(raw::TJPARAM_TJPARAM_PROGRESSIVE) != 0;
        Ok(Self { handle, data, length, size: (width, height), inks, lossless, progressive })
    }

    /// Width and height.
    pub(crate) const fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Whether it comes in several passes over all of it.
    pub(crate) const fn is_progressive(&self) -> bool {
        self.progressive
    }

    /// Width and height at a part of its size, 1, 2, 4 or 8.
    pub(crate) const fn part(&self, part: u32) -> (u32, u32) {
        (self.size.0.div_ceil(part), self.size.1.div_ceil(part))
    }

    /// Decodes it at a part of its size, into RGB at the beginning of `room`, row by row without gaps.
    pub(crate) fn decode(self, part: u32, room: &mut Vec<u8>) -> Result<(), String> {
        if self.lossless && part != 1 {
            return Err("it is lossless, and too large for that".into());
        }
        let (width, height) = self.part(part);
        let row = width as usize * if self.inks { 4 } else { 3 };
        let bytes = row * height as usize;
        if room.len() < bytes {
            room.resize(bytes, 0);
        }
        let pixels = &mut room[..bytes];
        self.fill(part, row, pixels)?;
        if self.inks {
            inks_to_rgb(pixels);
        }
        Ok(())
    }

    #[expect(unsafe_code, reason = "a library in C")]
    fn fill(&self, part: u32, row: usize, pixels: &mut [u8]) -> Result<(), String> {
        let format = if self.inks { raw::TJPF_TJPF_CMYK } else { raw::TJPF_TJPF_RGB };
        let pitch = i32::try_from(row).map_err(|error| error.to_string())?;
        let last = pixels.len() - row;
        let not_yet = || NOT_YET.iter().cycle();
        pixels[last..].iter_mut().zip(not_yet()).for_each(|(byte, mark)| *byte = *mark);
        let factor = raw::tjscalingfactor { num: 1, denom: part.cast_signed() };
        let handle = self.handle.0.as_ptr();
        // SAFETY: a decoder that lives. It reads the same beginning of the same bytes as before, from the same state,
        // and so writes rows of this length, as many as there is room for; a lossless picture would come whole.
        let decoded = unsafe {
            if raw::tj3SetScalingFactor(handle, factor) != 0 {
                return Err(self.handle.error());
            }
            raw::tj3Decompress8(handle, self.data.as_ptr(), self.length, pixels.as_mut_ptr(), pitch, format)
        };
        // After a warning an error is told as a warning too; rows are written in their order.
        let whole = || pixels[last..].iter().zip(not_yet()).any(|(byte, mark)| byte != mark);
        let shown = decoded == 0 || (self.handle.warned() && whole());
        if shown { Ok(()) } else { Err(self.handle.error()) }
    }
}

/// A decoder of the library.
#[derive(Debug)]
struct Handle(NonNull<c_void>);

#[expect(unsafe_code, reason = "a library in C")]
impl Handle {
    fn new() -> Result<Self, String> {
        // SAFETY: no precondition.
        let handle = unsafe { raw::tj3Init(raw::TJINIT_TJINIT_DECOMPRESS.cast_signed()) };
        let handle = Self(NonNull::new(handle).ok_or("there is no memory for a decoder")?);
        for (parameter, value) in
            [(raw::TJPARAM_TJPARAM_SCANLIMIT, MOST_SCANS), (raw::TJPARAM_TJPARAM_MAXMEMORY, MOST_MEMORY)]
        {
            // SAFETY: a decoder that lives.
            if unsafe { raw::tj3Set(handle.0.as_ptr(), parameter.cast_signed(), value) } != 0 {
                return Err(handle.error());
            }
        }
        Ok(handle)
    }

    fn get(&self, parameter: raw::TJPARAM) -> i32 {
        // SAFETY: a decoder that lives.
        unsafe { raw::tj3Get(self.0.as_ptr(), parameter.cast_signed()) }
    }

    /// Whether it warned. An error may have followed.
    fn warned(&self) -> bool {
        // SAFETY: a decoder that lives.
        unsafe { raw::tj3GetErrorCode(self.0.as_ptr()) == raw::TJERR_TJERR_WARNING.cast_signed() }
    }

    fn error(&self) -> String {
        // SAFETY: a decoder that lives, whose text stays until it is used again.
        let text = unsafe { CStr::from_ptr(raw::tj3GetErrorStr(self.0.as_ptr())) };
        text.to_string_lossy().into_owned()
    }
}

#[expect(unsafe_code, reason = "a library in C")]
impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it is not used any more.
        unsafe { raw::tj3Destroy(self.0.as_ptr()) }
    }
}

/// The inks of a picture as RGB, in place. Files have them inverted, as Adobe began it.
fn inks_to_rgb(pixels: &mut [u8]) {
    for pixel in 0..pixels.len() / 4 {
        let [cyan, magenta, yellow, black] = [0, 1, 2, 3].map(|ink| u16::from(pixels[pixel * 4 + ink]));
        let rgb = [cyan, magenta, yellow].map(|ink| ((ink * black + 127) / 255) as u8);
        pixels[pixel * 3..][..3].copy_from_slice(&rgb);
    }
}

/// The Exif block of a file, without its mark: TIFF.
pub(crate) fn exif(data: &[u8]) -> Option<&[u8]> {
    const START: u8 = 0xd8;
    const APP1: u8 = 0xe1;
    const SCAN: u8 = 0xda;
    let mut rest = data.strip_prefix(&[0xff, START])?;
    loop {
        let [0xff, marker, high, low, ..] = *rest else { return None };
        if marker == 0xff {
            rest = &rest[1..];
            continue;
        }
        let segment = rest.get(4..2 + usize::from(u16::from_be_bytes([high, low])))?;
        if marker == APP1
            && let Some(tiff) = segment.strip_prefix(b"Exif\0\0")
        {
            return Some(tiff);
        }
        if marker == SCAN {
            return None;
        }
        rest = &rest[4 + segment.len()..];
    }
}
