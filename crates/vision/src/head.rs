//! What a detector's numbers mean: which family its outputs are of, and the boxes in them.

mod anchors;
mod end_to_end;
mod nanodet;
mod planes;
mod rows;
mod yolo;
mod yolox;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The families of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// YOLOv8, YOLO11: `[1, 4 + classes, boxes]`, boxes as centre and size in pixels of the input.
    Yolo,
    /// YOLOv5, YOLOv7: `[1, boxes, 5 + classes]`, boxes as centre and size in pixels of the input, three a point.
    Yolov5,
    /// YOLOX as exported by its authors: `[1, boxes, 5 + classes]` on grids of strides 8, 16 and 32.
    Yolox,
    /// The same with boxes in pixels of the input, as exported with `--decode_in_inference`.
    YoloxDecoded,
    /// NanoDet: scores and distances (generalised focal loss), in one output or one of each per stride.
    Nanodet,
    /// Exports that suppress doubles themselves: `[1, boxes, 6]`, corners, score, class.
    EndToEnd,
}

/// A name and a shape; what a model says of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// As in the model's file.
    pub name: String,
    /// Without the batch: what follows the first dimension.
    pub dimensions: Vec<usize>,
}

impl Shape {
    /// Numbers of an outline that belong to each box, where this output is what outlines are made of.
    fn outlines(&self) -> Option<usize> {
        match self.dimensions[..] {
            [outlines, height, width] if height > 1 && width > 1 => Some(outlines),
            _ => None,
        }
    }
}

/// What else a model with these outputs may be, to go on with after "no family that is known here".
fn suspicion(outputs: &[Shape]) -> &'static str {
    match outputs {
        [Shape { dimensions, .. }] => match dimensions[..] {
            [_] => ": this looks like a classifier, which says what a whole picture shows and not where",
            [_, height, width] if height > 1 && width > 1 => {
                ": this looks like a segmentation, which colours pixels and tells no boxes"
            }
            _ => "",
        },
        _ => "",
    }
}

/// One output of a run, of one picture.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// Without the batch.
    pub dimensions: &'a [usize],
    /// Row by row.
    pub data: &'a [f32],
}

/// A box in pixels of the model's input, before doubles are suppressed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) left: f32,
    pub(crate) top: f32,
    pub(crate) right: f32,
    pub(crate) bottom: f32,
    pub(crate) score: f32,
    pub(crate) class: u32,
}

impl Candidate {
    /// A box of this size around its middle.
    fn around((x, y): (f32, f32), (width, height): (f32, f32), score: f32, class: u32) -> Self {
        let (left, right) = (x - width / 2.0, x + width / 2.0);
        let (top, bottom) = (y - height / 2.0, y + height / 2.0);
        Self { left, top, right, bottom, score, class }
    }
}

/// A family with what its outputs' shapes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    Yolo {
        classes: usize,
    },
    Yolox {
        classes: usize,
        input: (usize, usize),
    },
    /// Rows of `row` numbers, boxes in pixels.
    Rows {
        classes: usize,
        row: usize,
        kind: HeadKind,
    },
    Nanodet(nanodet::Layout),
    EndToEnd,
    Planes(planes::Planes),
}

impl Head {
    /// The head of these outputs for an input of `input` pixels; `kind` where the owner knows better, and
    /// the number of names of classes where there are any.
    pub(crate) fn of(
        outputs: &[Shape],
        input: (usize, usize),
        kind: Option<HeadKind>,
        labels: Option<usize>,
    ) -> Result<Self, Error> {
        let told = || {
            let shapes: Vec<String> =
                outputs.iter().map(|output| format!("{} {:?}", output.name, output.dimensions)).collect();
            shapes.join(", ")
        };
        let guesses = [
            (HeadKind::EndToEnd, end_to_end::fits(outputs, input)),
            (HeadKind::Nanodet, nanodet::fits(outputs, input, labels)),
            (HeadKind::Yolox, yolox::fits(outputs, input, labels)),
            (HeadKind::YoloxDecoded, yolox::fits(outputs, input, labels).map(rows::decoded)),
            (HeadKind::Yolov5, rows::fits(outputs, input, labels)),
            (HeadKind::Yolo, yolo::fits(outputs, labels)),
        ];
        let planes = planes::fits(outputs, input, labels);
        let planes = planes.map(|head| (head.kind(), Some(head)));
        let mut wanted =
            guesses.into_iter().chain(planes).filter(|(guess, _)| kind.is_none_or(|kind| kind == *guess));
        wanted.find_map(|(_, head)| head).ok_or_else(|| {
            Error::Model(match kind {
                Some(kind) => format!("its outputs ({}) are not those of {}", told(), kind.name()),
                None => format!(
                    "its outputs ({}) are of no family that is known here{}; set its head to yolo, yolov5, yolox, \
                     yolox-decoded, nanodet or end-to-end if it is one of these",
                    told(),
                    suspicion(outputs)
                ),
            })
        })
    }

    /// The head after a look at outputs of an empty picture: their shapes do not tell everything.
    pub(crate) fn after(self, outputs: &[Output<'_>]) -> Self {
        match &self {
            Self::Yolox { classes, .. } if rows::is_decoded(outputs[0], *classes) => rows::decoded(self),
            _ => self,
        }
    }

    /// Boxes with a score of at least `threshold`.
    pub(crate) fn read(&self, outputs: &[Output<'_>], threshold: f32, found: &mut Vec<Candidate>) {
        found.clear();
        match self {
            Self::Yolo { classes } => yolo::read(outputs[0], *classes, threshold, found),
            Self::Yolox { classes, input } => yolox::read(outputs[0], *classes, *input, threshold, found),
            Self::Rows { classes, row, .. } => rows::read(outputs[0], *classes, *row, threshold, found),
            Self::Nanodet(layout) => layout.read(outputs, threshold, found),
            Self::EndToEnd => end_to_end::read(outputs[0], threshold, found),
            Self::Planes(planes) => planes.read(outputs, threshold, found),
        }
        // A model that went wrong gives numbers that are none; a box of them is no detection.
        found.retain(|found| {
            [found.left, found.top, found.right, found.bottom, found.score]
                .iter()
                .all(|value| value.is_finite())
                && found.right > found.left
                && found.bottom > found.top
        });
    }

    /// Whether the model has suppressed doubles itself.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::EndToEnd)
    }

    /// Classes that the outputs tell apart, where their shape says so.
    pub(crate) fn classes(&self) -> Option<usize> {
        match self {
            Self::Yolo { classes } | Self::Yolox { classes, .. } | Self::Rows { classes, .. } => {
                Some(*classes)
            }
            Self::Nanodet(layout) => Some(layout.classes),
            Self::EndToEnd => None,
            Self::Planes(planes) => planes.rows().classes(),
        }
    }

    /// The family.
    pub(crate) const fn kind(&self) -> HeadKind {
        match self {
            Self::Yolo { .. } => HeadKind::Yolo,
            Self::Yolox { .. } => HeadKind::Yolox,
            Self::Rows { kind, .. } => *kind,
            Self::Nanodet(_) => HeadKind::Nanodet,
            Self::EndToEnd => HeadKind::EndToEnd,
            Self::Planes(planes) => planes.kind,
        }
    }
}

impl HeadKind {
    /// As in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yolo => "yolo",
            Self::Yolov5 => "yolov5",
            Self::Yolox => "yolox",
            Self::YoloxDecoded => "yolox-decoded",
            Self::Nanodet => "nanodet",
            Self::EndToEnd => "end-to-end",
        }
    }
}

/// The greatest of some scores and where it is.
fn best(scores: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, score) in scores.iter().enumerate() {
        if *score > best.1 {
            best = (index, *score);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Outputs, side of the input, names of classes, the family.
    type Case<'a> = (&'a [&'a [usize]], usize, Option<usize>, Option<HeadKind>);

    fn shapes(dimensions: &[&[usize]]) -> Vec<Shape> {
        let shape = |dimensions: &&[usize]| Shape { name: "o".into(), dimensions: dimensions.to_vec() };
        dimensions.iter().map(shape).collect()
    }

    #[test]
    fn the_family_is_found_by_the_shapes() {
        let nanodet: &[&[usize]] =
            &[&[1600, 80], &[400, 80], &[100, 80], &[1600, 32], &[400, 32], &[100, 32]];
        let cases: [Case<'_>; 15] = [
            (&[&[84, 8400]], 640, None, Some(HeadKind::Yolo)),
            (&[&[6, 2100]], 320, Some(2), Some(HeadKind::Yolo)),
            (&[&[3549, 85]], 416, None, Some(HeadKind::Yolox)),
            (&[&[3549, 6]], 416, None, Some(HeadKind::Yolox)),
            (&[&[300, 6]], 640, None, Some(HeadKind::EndToEnd)),
            (nanodet, 320, None, Some(HeadKind::Nanodet)),
            (&[&[2100, 112]], 320, None, Some(HeadKind::Nanodet)),
            (&[&[2100, 112]], 320, Some(107), Some(HeadKind::Yolox)),
            (&[&[1000]], 224, None, None),
            (&[&[300, 5]], 640, None, None),
            (&[], 640, None, None),
            (&[&[116, 8400], &[32, 160, 160]], 640, None, Some(HeadKind::Yolo)),
            (&[&[116, 8400], &[32, 160, 160]], 640, Some(79), None),
            (&[&[25200, 85]], 640, None, Some(HeadKind::Yolov5)),
            (&[&[25200, 117], &[32, 160, 160]], 640, Some(80), Some(HeadKind::Yolov5)),
        ];
        for (dimensions, side, labels, expected) in cases {
            let head = Head::of(&shapes(dimensions), (side, side), None, labels);
            assert_eq!(head.as_ref().ok().map(Head::kind), expected, "{dimensions:?}: {head:?}");
        }
        for (dimensions, word) in [(&[1000][..], "classifier"), (&[19, 512, 1024], "segmentation")] {
            let told = Head::of(&shapes(&[dimensions]), (224, 224), None, None).expect_err("no detector");
            assert!(told.to_string().contains(word), "{told}");
        }
        let told = Head::of(&shapes(&[&[3549, 85]]), (416, 416), Some(HeadKind::EndToEnd), None);
        assert!(told.expect_err("it is not").to_string().contains("not those of end-to-end"));
    }

    #[test]
    fn numbers_that_are_none_are_no_boxes() {
        let data =
            [f32::NAN, 0., 2., 2., 0.9, 0., 0., 0., 2., f32::INFINITY, 0.9, 0., 3., 3., 1., 1., 0.9, 0.];
        let mut found = Vec::new();
        Head::EndToEnd.read(&[Output { dimensions: &[3, 6], data: &data }], 0.5, &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
