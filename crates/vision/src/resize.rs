//! Scaling, bit for bit as OpenCV's `INTER_LINEAR` scales bytes: detectors of every family here were trained and
//! measured with it, and pixels that differ by parts of a byte have moved a score by 0.34.
//!
//! It is bilinear between pixel centres without smoothing, in fixed point: shares have eleven bits, a row is scaled
//! before rows are blended, and what lies between is cut off as OpenCV does it (`VResizeLinear` of its `resize.cpp`).

use crate::frame::Pixels;

/// One, as a share.
const WHOLE: f32 = 2048.0;
/// Bits that are cut off a scaled row, so that it has 15.
const CUT: i32 = 4;
/// Bytes that are read for a pixel and its neighbour: six, and two that fill the register.
const REACH: usize = 8;

/// Between which pixels of a line a pixel of the output lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tap {
    /// The one before; -1 where there is none.
    first: isize,
    /// Its share, and that of the next one.
    shares: [i16; 2],
}

/// A tap of a row.
#[derive(Debug, Clone, Copy)]
struct Column {
    /// Where its left pixel's bytes are.
    at: u32,
    /// The left pixel's share in the lower half, the right one's in the upper.
    shares: i32,
}

impl Column {
    const fn new(pixel: usize, [left, right]: [i16; 2]) -> Self {
        Self { at: pixel as u32 * 3, shares: (right as i32) << 16 | left as i32 }
    }
}

/// Scales pictures of one size to another.
#[derive(Debug, Default)]
pub(crate) struct Resizer {
    columns: Vec<Column>,
    lines: Vec<Tap>,
    /// Two rows of the picture that follow one another, scaled, as planes in the order of the picture's bytes.
    rows: [Row; 2],
}

#[derive(Debug, Default)]
struct Row {
    /// Which row of the picture.
    line: Option<usize>,
    planes: [Vec<i16>; 3],
}

/// One picture while it is scaled.
pub(crate) struct Resizing<'a> {
    resizer: &'a mut Resizer,
    pixels: &'a Pixels<'a>,
}

/// A line of the scaled picture.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    rows: [&'a Row; 2],
    shares: [i16; 2],
}

impl Resizer {
    /// Makes the tables for pictures of a size, scaled to another.
    pub(crate) fn prepare(&mut self, frame: (u32, u32), size: (u32, u32)) {
        let (width, height) = (frame.0 as usize, frame.1 as usize);
        let (columns, lines) = (size.0 as usize, size.1 as usize);
        self.columns.clear();
        self.columns.extend((0..columns).map(|index| column(tap(index, width, columns), width)));
        self.lines.clear();
        self.lines.extend((0..lines).map(|index| tap(index, height, lines)));
        for plane in self.rows.iter_mut().flat_map(|row| &mut row.planes) {
            plane.resize(columns, 0);
        }
    }

    /// Begins with a picture of the size that was prepared for.
    pub(crate) fn begin<'a>(&'a mut self, pixels: &'a Pixels<'a>) -> Resizing<'a> {
        for row in &mut self.rows {
            row.line = None;
        }
        Resizing { resizer: self, pixels }
    }
}

impl Resizing<'_> {
    /// A line of the output.
    pub(crate) fn line(&mut self, index: usize) -> Line<'_> {
        let Resizer { columns, lines, rows } = &mut *self.resizer;
        let Tap { first, shares } = lines[index];
        let last = self.pixels.height as usize - 1;
        let stride = self.pixels.width as usize * 3;
        // Beyond the edge its own row counts again.
        let around = [first, first + 1].map(|line| line.max(0).unsigned_abs().min(last));
        for line in around {
            let row = &mut rows[line % 2];
            if row.line != Some(line) {
                row.line = Some(line);
                spread(&self.pixels.data[line * stride..], columns, &mut row.planes);
            }
        }
        Line { rows: around.map(|line| &rows[line % 2]), shares }
    }
}

impl Line<'_> {
    /// Writes its bytes at this place of each pixel, as `byte * scale + shift`.
    pub(crate) fn write(self, byte: usize, scale: f32, shift: f32, out: &mut [f32]) {
        let [above, below] = self.rows.map(|row| row.planes[byte].as_slice());
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "the compiler cannot know the processor it will run on")]
            // SAFETY: the processor has it.
            unsafe {
                blend_wide(above, below, self.shares, scale, shift, out);
            }
            return;
        }
        blend_with(above, below, self.shares, scale, shift, out);
    }
}

/// Between which pixels the centre of pixel `index` of `out` lies, of a line of `length`.
fn tap(index: usize, length: usize, out: usize) -> Tap {
    let at = ((index as f64 + 0.5) * (length as f64 / out as f64) - 0.5) as f32;
    let first = at.floor();
    let share = at - first;
    let shares = [1.0 - share, share].map(|share| (share * WHOLE).round_ties_even() as i16);
    Tap { first: first as isize, shares }
}

/// The tap of a row of `width` pixels; at its ends a pixel counts alone.
fn column(tap: Tap, width: usize) -> Column {
    match usize::try_from(tap.first) {
        Ok(first) if first + 1 < width => Column::new(first, tap.shares),
        outside => Column::new(outside.map_or(0, |_| width - 1), [WHOLE as i16, 0]),
    }
}

/// The bytes from `at` on; zeros behind the end, which no share counts.
#[inline]
fn reach(row: &[u8], at: u32) -> [u8; REACH] {
    let bytes = &row[at as usize..];
    bytes.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; REACH];
        padded[..bytes.len()].copy_from_slice(bytes);
        padded
    })
}

/// Scales the row that begins with these bytes.
fn spread(row: &[u8], columns: &[Column], planes: &mut [Vec<i16>; 3]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "the compiler cannot know the processor it will run on")]
        // SAFETY: the processor has it.
        unsafe {
            spread_wide(row, columns, planes);
        }
        return;
    }
    spread_with(row, columns, planes, 0);
}

/// The columns from `from` on, one at a time.
fn spread_with(row: &[u8], columns: &[Column], planes: &mut [Vec<i16>; 3], from: usize) {
    for (index, column) in columns.iter().enumerate().skip(from) {
        let bytes = reach(row, column.at);
        let (left, right) = (column.shares & 0xffff, column.shares >> 16);
        for (channel, plane) in planes.iter_mut().enumerate() {
            let sum = i32::from(bytes[channel]) * left + i32::from(bytes[channel + 3]) * right;
            plane[index] = (sum >> CUT) as i16;
        }
    }
}

/// Four columns at a time: the two bytes of each channel times their shares in one instruction.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn spread_wide(row: &[u8], columns: &[Column], planes: &mut [Vec<i16>; 3]) {
    use std::arch::x86_64::{
        _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_madd_epi16, _mm_packs_epi32, _mm_set1_epi32, _mm_setr_epi8,
        _mm_shuffle_epi8, _mm_srai_epi32, _mm_unpackhi_epi16, _mm_unpackhi_epi64, _mm_unpacklo_epi16,
    };
    let pairs = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    let pixel = |column: &Column| {
        let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(reach(row, column.at)));
        let shares = _mm_set1_epi32(column.shares);
        _mm_srai_epi32::<CUT>(_mm_madd_epi16(_mm_shuffle_epi8(bytes, pairs), shares))
    };
    let (fours, rest) = columns.as_chunks::<4>();
    let [first, second, third] = planes.each_mut().map(|plane| plane.as_chunks_mut::<4>().0);
    let out = first.iter_mut().zip(second).zip(third);
    for (((first, second), third), four) in out.zip(fours) {
        let [a, b, c, d] = four.each_ref().map(pixel);
        let (ab, cd) = (_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
        let (ac, bd) = (_mm_unpacklo_epi16(ab, cd), _mm_unpackhi_epi16(ab, cd));
        let (low, high) = (_mm_unpacklo_epi16(ac, bd), _mm_unpackhi_epi16(ac, bd));
        *first = shorts(_mm_cvtsi128_si64(low));
        *second = shorts(_mm_cvtsi128_si64(_mm_unpackhi_epi64(low, low)));
        *third = shorts(_mm_cvtsi128_si64(high));
    }
    spread_with(row, columns, planes, columns.len() - rest.len());
}

/// Four numbers out of a register.
#[cfg(target_arch = "x86_64")]
const fn shorts(register: i64) -> [i16; 4] {
    [register as i16, (register >> 16) as i16, (register >> 32) as i16, (register >> 48) as i16]
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn blend_wide(above: &[i16], below: &[i16], shares: [i16; 2], scale: f32, shift: f32, out: &mut [f32]) {
    blend_with(above, below, shares, scale, shift, out);
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "only as a part of its caller it is compiled for the caller's registers"
)]
fn blend_with(above: &[i16], below: &[i16], shares: [i16; 2], scale: f32, shift: f32, out: &mut [f32]) {
    let high = |value: i16, share: i16| ((i32::from(value) * i32::from(share)) >> 16) as i16;
    for ((out, above), below) in out.iter_mut().zip(above).zip(below) {
        // At most 255 * 4 + 2.
        let byte = (high(*above, shares[0]) + high(*below, shares[1]) + 2) >> 2;
        *out = f32::from(byte) * scale + shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Width and height.
    type Size = (u32, u32);

    /// Bytes of a picture that shows noise.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    /// A picture of noise, scaled, in the order of its bytes.
    fn scaled(frame: (u32, u32), size: (u32, u32)) -> Vec<u8> {
        let data = noise((frame.0 * frame.1 * 3) as usize);
        let pixels = Pixels { width: frame.0, height: frame.1, red_first: true, data: &data };
        let mut resizer = Resizer::default();
        resizer.prepare(frame, size);
        let mut scaling = resizer.begin(&pixels);
        let columns = size.0 as usize;
        let mut bytes = vec![0; columns * size.1 as usize * 3];
        for (index, line) in bytes.chunks_exact_mut(columns * 3).enumerate() {
            let written = scaling.line(index);
            for byte in 0..3 {
                let mut plane = vec![f32::NAN; columns];
                written.write(byte, 1.0, 0.0, &mut plane);
                line.iter_mut().skip(byte).step_by(3).zip(plane).for_each(|(out, value)| *out = value as u8);
            }
        }
        bytes
    }

    #[test]
    fn every_byte_is_opencv_s_whatever_the_sizes() {
        // FNV-1a (64 bits) of the bytes that `cv2.resize` (opencv-python 5.0.0, x86-64) makes of the same noise.
        let cases: [(Size, Size, u64); 12] = [
            ((64, 48), (41, 30), 0xd47b_e99c_d659_2a58),
            ((64, 48), (41, 64), 0x5ba0_46f8_5a16_51c9),
            ((37, 29), (64, 50), 0xfd74_a33d_2f40_fc3a),
            ((37, 29), (99, 203), 0x0f3a_a2a7_47fd_c4db),
            ((5, 64), (64, 7), 0xcc59_67a1_bf5e_5c8f),
            ((1, 1), (6, 6), 0x6440_4646_6817_fa71),
            ((2, 300), (64, 32), 0x63be_f358_85f9_fec6),
            ((100, 80), (50, 40), 0x8922_3a44_cb44_8620),
            ((300, 200), (416, 277), 0x7ac1_aaa4_8ed0_9441),
            ((161, 121), (320, 240), 0x3360_acfa_bf19_2935),
            ((300, 300), (7, 7), 0xf342_2422_7584_5f0f),
            ((200, 150), (199, 151), 0xee87_698d_73a3_fb7a),
        ];
        for (frame, size, expected) in cases {
            let hash = scaled(frame, size).into_iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            assert_eq!(hash, expected, "{frame:?} to {size:?}");
        }
    }

    #[test]
    fn every_processor_scales_alike() {
        let row = noise(101 * 3);
        for columns in [1, 3, 4, 61, 64, 203] {
            let taps: Vec<Column> = (0..columns).map(|index| column(tap(index, 101, columns), 101)).collect();
            let mut planes = [(); 2].map(|()| [(); 3].map(|()| vec![0; columns]));
            let [chosen, plain] = &mut planes;
            spread(&row, &taps, chosen);
            spread_with(&row, &taps, plain, 0);
            assert_eq!(chosen, plain, "{columns}");
        }
    }

    #[test]
    fn the_next_picture_shows_nothing_of_the_one_before() {
        let mut resizer = Resizer::default();
        resizer.prepare((4, 4), (4, 4));
        for value in [7, 9] {
            let data = [value; 48];
            let pixels = Pixels { width: 4, height: 4, red_first: true, data: &data };
            let mut plane = [0.0; 4];
            resizer.begin(&pixels).line(0).write(0, 1.0, 0.0, &mut plane);
            assert_eq!(plane.map(|shown| shown as u8), [value; 4]);
        }
    }
}
