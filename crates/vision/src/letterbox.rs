//! A picture into a model's input: scaled to fit, padded, normalised and laid out in planes, in one pass.
//!
//! Scaling is bilinear between pixel centres without smoothing, as OpenCV's `INTER_LINEAR` does it, because
//! that is what detectors of these families were trained and measured with.

use serde::{Deserialize, Serialize};
use wide::f32x4;

use crate::frame::Pixels;

/// What a model wants its input to be like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Blue comes first in the channels; else red.
    pub bgr: bool,
    /// `value = (byte - mean) / std` for each channel, in the order of the channels.
    pub mean: [f32; 3],
    /// As `mean`.
    pub std: [f32; 3],
    /// The byte that fills what the picture does not cover.
    pub padding: u8,
    /// Whether the picture lies in the middle of the input; else at the top left.
    pub centred: bool,
}

/// Where a picture lies in the input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Placement {
    /// Size of the picture that was sent, in pixels.
    pub(crate) frame: (u32, u32),
    /// Size of the scaled picture in the input, in pixels.
    size: (u32, u32),
    /// Its top left corner in the input.
    at: (u32, u32),
}

impl Placement {
    fn of(frame: (u32, u32), input: (u32, u32), centred: bool) -> Self {
        let scale = (f64::from(input.0) / f64::from(frame.0)).min(f64::from(input.1) / f64::from(frame.1));
        let scaled = |side: u32, most: u32| ((f64::from(side) * scale).round() as u32).clamp(1, most);
        let size = (scaled(frame.0, input.0), scaled(frame.1, input.1));
        let at = if centred { ((input.0 - size.0) / 2, (input.1 - size.1) / 2) } else { (0, 0) };
        Self { frame, size, at }
    }

    /// A point of the input in pixels of the frame, inside of it.
    pub(crate) fn to_frame(self, x: f32, y: f32) -> (f32, f32) {
        let back = |value: f32, at: u32, size: u32, frame: u32| {
            ((value - at as f32) * (frame as f32 / size as f32)).clamp(0.0, frame as f32)
        };
        (back(x, self.at.0, self.size.0, self.frame.0), back(y, self.at.1, self.size.1, self.frame.1))
    }
}

/// Between which pixels of a line a pixel of the output lies: the left one, and the right one's share.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tap {
    left: usize,
    share: f32,
}

/// Shares between lines are parts of this, so that a byte times a share has 16 bits.
const LINE_WHOLE: u16 = 1 << 8;
/// Values that are read for a pixel: its own three, its neighbour's, and one that fills the register.
const REACH: usize = 7;

/// Scales pictures into inputs. Keeps its tables while pictures keep their size.
#[derive(Debug)]
pub(crate) struct Letterbox {
    input: (u32, u32),
    preprocessing: Preprocessing,
    placement: Option<Placement>,
    columns: Vec<Tap>,
    /// A row of the picture between two of its rows, times [`LINE_WHOLE`].
    /// Ends with its last pixel twice, which so has a neighbour.
    row: Vec<f32>,
}

impl Letterbox {
    pub(crate) const fn new(input: (u32, u32), preprocessing: Preprocessing) -> Self {
        Self { input, preprocessing, placement: None, columns: Vec::new(), row: Vec::new() }
    }

    /// Fills `tensor`, three planes of the input's size, and says where the picture lies in it. What lay in it
    /// before, if that was a picture, is `before`: padding that is there already is not written again.
    pub(crate) fn fill(
        &mut self,
        pixels: &Pixels<'_>,
        tensor: &mut [f32],
        before: Option<Placement>,
    ) -> Placement {
        let placement = self.place((pixels.width, pixels.height));
        let padded = before.is_some_and(|before| (before.at, before.size) == (placement.at, placement.size));
        let (width, height) = (self.input.0 as usize, self.input.1 as usize);
        let Preprocessing { bgr, mean, std, padding, .. } = self.preprocessing;
        // Which byte of a pixel goes into which plane.
        let byte_of = if bgr == pixels.red_first { [2, 1, 0] } else { [0, 1, 2] };
        let (mut scale, mut shift) = ([1.0; 3], [0.0; 3]);
        for (channel, byte) in byte_of.into_iter().enumerate() {
            scale[byte] = 1.0 / std[channel];
            shift[byte] = -mean[channel] / std[channel];
        }
        let (first_row, rows) = (placement.at.1 as usize, placement.size.1 as usize);
        let (first_column, columns) = (placement.at.0 as usize, placement.size.0 as usize);
        let stride = pixels.width as usize * 3;
        let mut row_now = None;
        let (first, rest) = tensor.split_at_mut(width * height);
        let (second, third) = rest.split_at_mut(width * height);
        let mut planes = [first, second, third];
        for (plane, byte) in planes.iter_mut().zip(byte_of).filter(|_| !padded) {
            let empty = f32::from(padding) * scale[byte] + shift[byte];
            plane[..first_row * width].fill(empty);
            plane[(first_row + rows) * width..].fill(empty);
            for line in plane[first_row * width..(first_row + rows) * width].chunks_exact_mut(width) {
                line[..first_column].fill(empty);
                line[first_column + columns..].fill(empty);
            }
        }
        for line in 0..rows {
            let tap = tap(line, pixels.height as usize, rows);
            let share = (tap.share * f32::from(LINE_WHOLE)) as u16;
            if row_now != Some((tap.left, share)) {
                row_now = Some((tap.left, share));
                let below = (tap.left + 1).min(pixels.height as usize - 1);
                let row = |line: usize| &pixels.data[line * stride..][..stride];
                blend(row(tap.left), row(below), share, &mut self.row);
            }
            let at = (first_row + line) * width + first_column;
            let [first, second, third] = planes.each_mut().map(|plane| &mut plane[at..][..columns]);
            // The planes in the order of the bytes.
            let out = if byte_of[0] == 0 { [first, second, third] } else { [third, second, first] };
            spread(&self.row, &self.columns, scale, shift, out);
        }
        placement
    }

    fn place(&mut self, frame: (u32, u32)) -> Placement {
        if let Some(placement) = self.placement.filter(|placement| placement.frame == frame) {
            return placement;
        }
        let placement = Placement::of(frame, self.input, self.preprocessing.centred);
        self.columns.clear();
        let columns = placement.size.0 as usize;
        self.columns.extend((0..columns).map(|column| tap(column, frame.0 as usize, columns)));
        self.row.resize(frame.0 as usize * 3 + REACH - 3, 0.0);
        self.placement = Some(placement);
        placement
    }
}

/// The pixels between whose centres the centre of pixel `index` of `out` lies, of a line of `length`.
fn tap(index: usize, length: usize, out: usize) -> Tap {
    let at = ((index as f64 + 0.5) * length as f64 / out as f64 - 0.5).clamp(0.0, (length - 1) as f64);
    let left = at.floor() as usize;
    Tap { left, share: (at - left as f64) as f32 }
}

/// A row between two rows, times [`LINE_WHOLE`].
fn blend(above: &[u8], below: &[u8], share: u16, row: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "the compiler cannot know the processor it will run on")]
        // SAFETY: the processor has it.
        unsafe {
            blend_wide(above, below, share, row);
        }
        return;
    }
    blend_with(above, below, share, row);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn blend_wide(above: &[u8], below: &[u8], share: u16, row: &mut [f32]) {
    blend_with(above, below, share, row);
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "only as a part of its caller it is compiled for the caller's registers"
)]
fn blend_with(above: &[u8], below: &[u8], share: u16, row: &mut [f32]) {
    let rest = LINE_WHOLE - share;
    for ((out, above), below) in row.iter_mut().zip(above).zip(below) {
        // At most 255 * 256.
        let sum = u16::from(*above).wrapping_mul(rest).wrapping_add(u16::from(*below).wrapping_mul(share));
        *out = f32::from(sum);
    }
    let last = above.len();
    row.copy_within(last - 3..last, last);
}

/// A row of the picture into a row of each plane; planes, scale and shift in the order of the picture's bytes.
///
/// The three values of a pixel are reckoned together, and those of four pixels turned into planes together.
fn spread(row: &[f32], columns: &[Tap], scale: [f32; 3], shift: [f32; 3], planes: [&mut [f32]; 3]) {
    let pixel = |tap: &Tap| {
        let both = row.get(tap.left * 3..).and_then(<[f32]>::first_chunk::<REACH>);
        let [l0, l1, l2, r0, r1, r2, rest] = *both.unwrap_or(&[0.0; REACH]);
        let (left, right) = (f32x4::new([l0, l1, l2, r0]), f32x4::new([r0, r1, r2, rest]));
        left + (right - left) * f32x4::splat(tap.share)
    };
    let scale = scale.map(|scale| scale / f32::from(LINE_WHOLE));
    let (scales, shifts) = (scale.map(f32x4::splat), shift.map(f32x4::splat));
    let (fours, rest) = columns.as_chunks::<4>();
    let [first, second, third] = planes.map(<[f32]>::as_chunks_mut::<4>);
    let out = first.0.iter_mut().zip(second.0).zip(third.0);
    for (((first, second), third), taps) in out.zip(fours) {
        let planes = f32x4::transpose(taps.each_ref().map(pixel));
        *first = (planes[0] * scales[0] + shifts[0]).to_array();
        *second = (planes[1] * scales[1] + shifts[1]).to_array();
        *third = (planes[2] * scales[2] + shifts[2]).to_array();
    }
    let out = first.1.iter_mut().zip(second.1).zip(third.1);
    for (((first, second), third), tap) in out.zip(rest) {
        let [a, b, c, _] = pixel(tap).to_array();
        (*first, *second, *third) =
            (a * scale[0] + shift[0], b * scale[1] + shift[1], c * scale[2] + shift[2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Preprocessing =
        Preprocessing { bgr: false, mean: [0.0; 3], std: [1.0; 3], padding: 114, centred: false };

    fn fill(input: (u32, u32), preprocessing: Preprocessing, pixels: Pixels<'_>) -> (Vec<f32>, Placement) {
        let mut tensor = vec![f32::NAN; input.0 as usize * input.1 as usize * 3];
        let placement = Letterbox::new(input, preprocessing).fill(&pixels, &mut tensor, None);
        (tensor, placement)
    }

    #[test]
    fn a_picture_of_the_input_s_size_goes_in_as_it_is_in_planes() {
        let data: Vec<u8> = (0..12).collect();
        let pixels = Pixels { width: 2, height: 2, red_first: true, data: &data };
        let (tensor, _) = fill((2, 2), PLAIN, pixels);
        assert_eq!(tensor, [0., 3., 6., 9., 1., 4., 7., 10., 2., 5., 8., 11.]);
        let (tensor, _) = fill((2, 2), Preprocessing { bgr: true, ..PLAIN }, pixels);
        assert_eq!(tensor[..4], [2., 5., 8., 11.], "blue first");
        let (same, _) = fill((2, 2), PLAIN, Pixels { red_first: false, ..pixels });
        assert_eq!(same, tensor, "a picture in BGR for a model in RGB");
        let normal = Preprocessing { mean: [1.0, 0.0, 0.0], std: [2.0, 1.0, 1.0], ..PLAIN };
        assert_eq!(fill((2, 2), normal, pixels).0[..4], [-0.5, 1., 2.5, 4.]);
    }

    #[test]
    fn the_rest_is_padding_and_boxes_find_their_way_back() {
        let data = [255; 4 * 2 * 3];
        let pixels = Pixels { width: 4, height: 2, red_first: true, data: &data };
        for (centred, rows) in [(false, [1, 1, 0, 0]), (true, [0, 1, 1, 0])] {
            let (tensor, placement) = fill((4, 4), Preprocessing { centred, ..PLAIN }, pixels);
            for (line, covered) in rows.into_iter().enumerate() {
                let expected = if covered == 1 { 255.0 } else { 114.0 };
                assert!(tensor[line * 4..][..4] == [expected; 4], "{line} {tensor:?}");
            }
            let top = if centred { 1.0 } else { 0.0 };
            assert_eq!(placement.to_frame(0.0, top), (0.0, 0.0));
            assert_eq!(placement.to_frame(4.0, top + 2.0), (4.0, 2.0));
            assert_eq!(placement.to_frame(-3.0, 9.0), (0.0, 2.0), "inside of the frame");
        }
        let (_, placement) = fill((2, 2), PLAIN, pixels);
        assert_eq!(placement.to_frame(1.0, 0.5), (2.0, 1.0), "scaled back");
        // A line so thin that rounding would leave nothing of it.
        let thin = Pixels { width: 4, height: 1, red_first: true, data: &data[..12] };
        assert_eq!(fill((1, 1), PLAIN, thin).1.size, (1, 1));
    }

    /// The same by the formula, one value at a time.
    fn plain(pixels: &Pixels<'_>, size: (usize, usize)) -> Vec<f64> {
        let (width, height) = (pixels.width as usize, pixels.height as usize);
        let between = |index: usize, length: usize, out: usize| {
            let at = (index as f64 + 0.5) * length as f64 / out as f64 - 0.5;
            let at = at.clamp(0.0, (length - 1) as f64);
            (at as usize, (at as usize + 1).min(length - 1), at.fract())
        };
        let mut values = Vec::new();
        for channel in 0..3 {
            for line in 0..size.1 {
                let (above, below, down) = between(line, height, size.1);
                for column in 0..size.0 {
                    let (left, right, along) = between(column, width, size.0);
                    let byte = |x: usize, y: usize| f64::from(pixels.data[(y * width + x) * 3 + channel]);
                    let row = |y: usize| byte(left, y) * (1.0 - along) + byte(right, y) * along;
                    values.push(row(above) * (1.0 - down) + row(below) * down);
                }
            }
        }
        values
    }

    #[test]
    fn every_value_is_the_formula_s_whatever_the_sizes() {
        let mut noise = 1_u32;
        let data: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .take(64 * 64 * 3)
        .collect();
        for (frame, input) in
            [((64, 48), (41, 64)), ((37, 29), (64, 64)), ((5, 64), (64, 7)), ((1, 1), (6, 6))]
        {
            let pixels = Pixels {
                width: frame.0,
                height: frame.1,
                red_first: true,
                data: &data[..(frame.0 * frame.1 * 3) as usize],
            };
            let (tensor, placement) = fill(input, PLAIN, pixels);
            let (columns, rows) = (placement.size.0 as usize, placement.size.1 as usize);
            let expected = plain(&pixels, (columns, rows));
            let plane = (input.0 * input.1) as usize;
            for (index, expected) in expected.into_iter().enumerate() {
                let (channel, at) = (index / (columns * rows), index % (columns * rows));
                let value = tensor[channel * plane + at / columns * input.0 as usize + at % columns];
                // Shares between lines have eight bits.
                assert!((f64::from(value) - expected).abs() < 1.01, "{frame:?} {index}: {value} {expected}");
            }
        }
    }

    #[test]
    fn scaling_is_bilinear_between_pixel_centres() {
        // Values of OpenCV's INTER_LINEAR for a line 0, 100 scaled to four pixels, and back to one.
        let data = [0, 0, 0, 100, 100, 100];
        let pixels = Pixels { width: 2, height: 1, red_first: true, data: &data };
        let (tensor, _) = fill((4, 2), PLAIN, pixels);
        assert_eq!(tensor[..4], [0.0, 25.0, 75.0, 100.0]);
        let (tensor, _) = fill((1, 1), PLAIN, pixels);
        assert_eq!(tensor[..1], [50.0]);
    }
}
