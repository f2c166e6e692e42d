//! A picture into a model's input: scaled to fit, padded, normalised and laid out in planes, in one pass.

use serde::{Deserialize, Serialize};

use crate::frame::Pixels;
use crate::resize::Resizer;

/// How a picture is scaled to the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Its shape stays; the size is rounded to whole pixels, half ones to even ones. Ultralytics and NanoDet.
    Round,
    /// Its shape stays; parts of a pixel are cut off. YOLOX's authors.
    Truncate,
    /// It is stretched over the whole input.
    Stretch,
}

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
    /// How it is scaled.
    pub fit: Fit,
}

/// What the owner knows better than the family's usual way; everything may be left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    /// As in [`Preprocessing`], and so are the others.
    pub bgr: Option<bool>,
    /// The mean of each channel.
    pub mean: Option<[f32; 3]>,
    /// Its deviation.
    pub std: Option<[f32; 3]>,
    /// The byte around the picture.
    pub padding: Option<u8>,
    /// Whether it lies in the middle.
    pub centred: Option<bool>,
    /// How it is scaled.
    pub fit: Option<Fit>,
}

impl Changes {
    /// The family's usual way with these changes.
    pub(crate) fn of(self, usual: &Preprocessing) -> Preprocessing {
        Preprocessing {
            bgr: self.bgr.unwrap_or(usual.bgr),
            mean: self.mean.unwrap_or(usual.mean),
            std: self.std.unwrap_or(usual.std),
            padding: self.padding.unwrap_or(usual.padding),
            centred: self.centred.unwrap_or(usual.centred),
            fit: self.fit.unwrap_or(usual.fit),
        }
    }
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
    fn of(frame: (u32, u32), input: (u32, u32), preprocessing: &Preprocessing) -> Self {
        let scale = (f64::from(input.0) / f64::from(frame.0)).min(f64::from(input.1) / f64::from(frame.1));
        let scaled = |side: u32, most: u32| match preprocessing.fit {
            Fit::Round => ((f64::from(side) * scale).round_ties_even() as u32).clamp(1, most),
            Fit::Truncate => ((f64::from(side) * scale) as u32).clamp(1, most),
            Fit::Stretch => most,
        };
        let size = (scaled(frame.0, input.0), scaled(frame.1, input.1));
        let middle = ((input.0 - size.0) / 2, (input.1 - size.1) / 2);
        Self { frame, size, at: if preprocessing.centred { middle } else { (0, 0) } }
    }

    /// A point of the input in pixels of the frame, inside of it.
    pub(crate) fn to_frame(self, x: f32, y: f32) -> (f32, f32) {
        let back = |value: f32, at: u32, size: u32, frame: u32| {
            ((value - at as f32) * (frame as f32 / size as f32)).clamp(0.0, frame as f32)
        };
        (back(x, self.at.0, self.size.0, self.frame.0), back(y, self.at.1, self.size.1, self.frame.1))
    }
}

/// Scales pictures into inputs. Keeps its tables while pictures keep their size.
#[derive(Debug)]
pub(crate) struct Letterbox {
    input: (u32, u32),
    preprocessing: Preprocessing,
    placement: Option<Placement>,
    resizer: Resizer,
}

impl Letterbox {
    pub(crate) fn new(input: (u32, u32), preprocessing: Preprocessing) -> Self {
        Self { input, preprocessing, placement: None, resizer: Resizer::default() }
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
        let (first_row, rows) = (placement.at.1 as usize, placement.size.1 as usize);
        let (first_column, columns) = (placement.at.0 as usize, placement.size.0 as usize);
        let (first, rest) = tensor.split_at_mut(width * height);
        let (second, third) = rest.split_at_mut(width * height);
        let mut planes = [first, second, third];
        for (channel, plane) in planes.iter_mut().enumerate().filter(|_| !padded) {
            let empty = (f32::from(padding) - mean[channel]) / std[channel];
            plane[..first_row * width].fill(empty);
            plane[(first_row + rows) * width..].fill(empty);
            for line in plane[first_row * width..(first_row + rows) * width].chunks_exact_mut(width) {
                line[..first_column].fill(empty);
                line[first_column + columns..].fill(empty);
            }
        }
        let mut resizing = self.resizer.begin(pixels);
        for line in 0..rows {
            let resized = resizing.line(line);
            let at = (first_row + line) * width + first_column;
            for (channel, (plane, byte)) in planes.iter_mut().zip(byte_of).enumerate() {
                let scale = 1.0 / std[channel];
                resized.write(byte, scale, -mean[channel] * scale, &mut plane[at..][..columns]);
            }
        }
        placement
    }

    fn place(&mut self, frame: (u32, u32)) -> Placement {
        if let Some(placement) = self.placement.filter(|placement| placement.frame == frame) {
            return placement;
        }
        let placement = Placement::of(frame, self.input, &self.preprocessing);
        self.resizer.prepare(frame, placement.size);
        self.placement = Some(placement);
        placement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Preprocessing = Preprocessing {
        bgr: false,
        mean: [0.0; 3],
        std: [1.0; 3],
        padding: 114,
        centred: false,
        fit: Fit::Round,
    };

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

    #[test]
    fn the_size_is_what_the_families_authors_make_of_it() {
        // Sizes by Python's `int(round(side * ratio))` and `int(side * ratio)`.
        for (frame, side, rounded, truncated) in [
            ((768, 576), 416, (416, 312), (416, 312)),
            ((640, 427), 416, (416, 278), (416, 277)),
            ((500, 375), 416, (416, 312), (416, 312)),
            // Exactly half a pixel.
            ((640, 485), 320, (320, 242), (320, 242)),
            ((640, 487), 320, (320, 244), (320, 243)),
            ((1000, 3), 320, (320, 1), (320, 1)),
        ] {
            for (fit, size) in
                [(Fit::Round, rounded), (Fit::Truncate, truncated), (Fit::Stretch, (side, side))]
            {
                let own = Preprocessing { fit, ..PLAIN };
                assert_eq!(Placement::of(frame, (side, side), &own).size, size, "{frame:?} {fit:?}");
            }
        }
        let stretched = Placement::of((200, 100), (100, 100), &Preprocessing { fit: Fit::Stretch, ..PLAIN });
        assert_eq!(stretched.to_frame(50.0, 50.0), (100.0, 50.0));
    }

    #[test]
    fn what_the_owner_changes_leaves_the_rest_as_the_family_has_it() {
        let changes = Changes { fit: Some(Fit::Truncate), mean: Some([1.0; 3]), ..Changes::default() };
        assert_eq!(changes.of(&PLAIN), Preprocessing { fit: Fit::Truncate, mean: [1.0; 3], ..PLAIN });
        assert_eq!(Changes::default().of(&PLAIN), PLAIN);
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
