//! A row a box, already in pixels of the input: `x y width height` around the centre, an objectness, then a score for
//! each class. YOLOv5 and YOLOv7 look from three boxes at each point of their grids; YOLOX, where it was exported with
//! its decoding, from one.

use super::{Candidate, Head, HeadKind, Output, Shape, anchors, best};

/// Numbers of a row before the classes.
const FIXED: usize = 5;
/// Boxes of YOLOv5 and YOLOv7 at each point.
const ANCHORS: usize = 3;
/// Undecoded, the centre of a box lies within a few points of its own: the mean of all is far below this.
const DECODED_FROM: f32 = 8.0;

pub(super) fn fits(outputs: &[Shape], input: (usize, usize), labels: Option<usize>) -> Option<Head> {
    // Of models that find outlines too, numbers of outlines follow in each row.
    let (dimensions, outlines) = match outputs {
        [Shape { dimensions, .. }] => (dimensions, 0),
        [Shape { dimensions, .. }, outlines] => (dimensions, outlines.outlines()?),
        _ => return None,
    };
    let [boxes, row] = dimensions[..] else { return None };
    let classes = row.checked_sub(FIXED + outlines).filter(|classes| *classes > 0)?;
    let fits = boxes == ANCHORS * anchors::points(input) && labels.is_none_or(|labels| labels == classes);
    fits.then_some(Head::Rows { classes, row, kind: HeadKind::Yolov5 })
}

/// The same as YOLOX with its decoding, for who says that it is one.
pub(super) fn decoded(head: Head) -> Head {
    match head {
        Head::Yolox { classes, .. } => {
            Head::Rows { classes, row: FIXED + classes, kind: HeadKind::YoloxDecoded }
        }
        other => other,
    }
}

/// Whether the centres in an output of YOLOX are pixels of the input already.
pub(super) fn is_decoded(output: Output<'_>, classes: usize) -> bool {
    let rows = output.data.chunks_exact(FIXED + classes);
    let count = rows.len().max(1) as f32;
    let mean = rows.map(|row| row[0].abs()).sum::<f32>() / count;
    mean > DECODED_FROM
}

pub(super) fn read(
    output: Output<'_>,
    classes: usize,
    row: usize,
    threshold: f32,
    found: &mut Vec<Candidate>,
) {
    for row in output.data.chunks_exact(row) {
        let [x, y, width, height, objectness] = row[..FIXED] else { continue };
        // No class can lift it over the threshold.
        if objectness < threshold {
            continue;
        }
        let (class, score) = best(&row[FIXED..FIXED + classes]);
        let score = score * objectness;
        if score >= threshold {
            found.push(Candidate::around((x, y), (width, height), score, class as u32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(dimensions: &[&[usize]], kind: Option<HeadKind>) -> Result<Head, crate::Error> {
        let shape = |dimensions: &&[usize]| Shape { name: "o".into(), dimensions: dimensions.to_vec() };
        let shapes: Vec<Shape> = dimensions.iter().map(shape).collect();
        Head::of(&shapes, (32, 32), kind, Some(2))
    }

    #[test]
    fn boxes_of_yolov5_are_in_pixels_and_its_outlines_are_no_classes() {
        let expected = Candidate { left: 8., top: 4., right: 12., bottom: 24., score: 0.4, class: 1 };
        for (shapes, row) in [(&[&[63, 7][..]][..], 7), (&[&[63, 39][..], &[32, 8, 8][..]][..], 39)] {
            let head = head(shapes, None).expect("fits");
            assert_eq!(head.kind(), HeadKind::Yolov5);
            let mut data = vec![0.0; 63 * row];
            data[5 * row..][..8.min(row)]
                .copy_from_slice(&[10., 14., 4., 20., 0.5, 0.1, 0.8, 9.0][..8.min(row)]);
            let mut found = Vec::new();
            head.read(&[Output { dimensions: shapes[0], data: &data }], 0.3, &mut found);
            assert_eq!(found, [expected], "{shapes:?}");
        }
    }

    #[test]
    fn a_yolox_that_was_exported_with_its_decoding_is_noticed_or_named() {
        // The 18th of 21 points is the second of the grid with stride 16.
        let mut pixels = vec![0.0; 21 * 7];
        for (index, row) in pixels.chunks_exact_mut(7).enumerate() {
            row[..4].copy_from_slice(&[index as f32 * 1.5, 8.0, 16.0, 16.0]);
        }
        pixels[17 * 7..][..7].copy_from_slice(&[24., 8., 16., 8., 0.8, 0.1, 0.5]);
        let mut offsets = vec![0.3; 21 * 7];
        offsets[17 * 7..][..7].copy_from_slice(&[0.5, 0.5, 0.0, -std::f32::consts::LN_2, 0.8, 0.1, 0.5]);
        let of_shapes = || head(&[&[21, 7]], None).expect("fits");
        for (data, decoded) in [(&pixels, true), (&offsets, false)] {
            let output = Output { dimensions: &[21, 7], data };
            let head = of_shapes().after(&[output]);
            let kind = if decoded { HeadKind::YoloxDecoded } else { HeadKind::Yolox };
            assert_eq!(head.kind(), kind);
            let mut found = Vec::new();
            head.read(&[output], 0.3, &mut found);
            let [found] = found[..] else { panic!("{found:?}") };
            assert!((found.left - 16.0).abs() < 0.01 && (found.right - 32.0).abs() < 0.01, "{found:?}");
            assert!((found.top - 4.0).abs() < 0.01 && (found.bottom - 12.0).abs() < 0.01, "{found:?}");
        }
        let named = head(&[&[21, 7]], Some(HeadKind::YoloxDecoded)).expect("fits");
        assert_eq!(named.kind(), HeadKind::YoloxDecoded);
    }
}
