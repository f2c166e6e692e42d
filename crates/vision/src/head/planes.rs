//! Exports for NPUs, which end before the numbers of a box come together: outputs of `[values, rows, columns]` for
//! each stride. YOLOX has one, YOLOv8 and YOLO11 have one of distances (generalised focal loss, as NanoDet's), one of
//! scores and, in some exports, one with the sum of the scores.
//!
//! They are turned into rows, which the other families read.

use super::nanodet::{self, SIDES};
use super::{Head, HeadKind, Output, Shape, anchors};

/// Numbers of a box of YOLOX before the classes.
const FIXED: usize = 5;

/// Where the values of a box are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planes {
    /// Of each stride the outputs that make a row, in the row's order.
    strides: [Vec<usize>; 3],
    /// Values of a row.
    row: usize,
    /// Reads the rows.
    rows: Box<Head>,
    pub(super) kind: HeadKind,
}

pub(super) fn fits(outputs: &[Shape], input: (usize, usize), labels: Option<usize>) -> Option<Head> {
    let (per_stride, rest) = (outputs.len() / 3, outputs.len() % 3);
    if rest != 0 || !(1..=3).contains(&per_stride) {
        return None;
    }
    let mut strides = [const { Vec::new() }; 3];
    let mut widths = Vec::new();
    for (place, (_, columns, rows)) in strides.iter_mut().zip(anchors::grids(input)) {
        let of_stride =
            outputs.iter().enumerate().filter_map(|(index, output)| match output.dimensions[..] {
                [values, height, width] if (height, width) == (rows, columns) => Some((index, values)),
                _ => None,
            });
        let (indices, values): (Vec<usize>, Vec<usize>) = of_stride.unzip();
        if !widths.is_empty() && widths != values {
            return None;
        }
        (*place, widths) = (indices, values);
    }
    let known = |classes: usize| classes > 0 && labels.is_none_or(|labels| labels == classes);
    match widths[..] {
        [row] => {
            let classes = row.checked_sub(FIXED).filter(|classes| known(*classes))?;
            let rows = Box::new(Head::Yolox { classes, input });
            Some(Head::Planes(Planes { strides, row, rows, kind: HeadKind::Yolox }))
        }
        [sides, classes] | [sides, classes, 1] if known(classes) && sides.is_multiple_of(SIDES) => {
            // Scores come first in a row.
            let strides = strides.map(|indices| vec![indices[1], indices[0]]);
            let rows = Box::new(nanodet::joined(classes, sides / SIDES, input)?);
            Some(Head::Planes(Planes { strides, row: classes + sides, rows, kind: HeadKind::Yolo }))
        }
        _ => None,
    }
}

impl Planes {
    pub(super) const fn rows(&self) -> &Head {
        &self.rows
    }

    pub(super) fn read(&self, outputs: &[Output<'_>], threshold: f32, found: &mut Vec<super::Candidate>) {
        let mut rows = Vec::new();
        for indices in &self.strides {
            let points = |index: usize| outputs[index].dimensions[1..].iter().product::<usize>();
            let Some(points) = indices.first().map(|index| points(*index)) else { continue };
            let from = rows.len();
            rows.resize(from + points * self.row, 0.0);
            let planes = indices.iter().flat_map(|index| outputs[*index].data.chunks_exact(points));
            for (value, plane) in planes.enumerate() {
                for (row, number) in rows[from..].chunks_exact_mut(self.row).zip(plane) {
                    row[value] = *number;
                }
            }
        }
        let dimensions = [rows.len() / self.row, self.row];
        self.rows.read(&[Output { dimensions: &dimensions, data: &rows }], threshold, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Candidate;

    fn read(
        shapes: &[&[usize]],
        input: (usize, usize),
        set: &[(usize, usize, f32)],
    ) -> (HeadKind, Vec<Candidate>) {
        let told: Vec<Shape> =
            shapes.iter().map(|shape| Shape { name: String::new(), dimensions: shape.to_vec() }).collect();
        let head = Head::of(&told, input, None, Some(2)).expect("fits");
        let mut data: Vec<Vec<f32>> = shapes.iter().map(|shape| vec![0.0; shape.iter().product()]).collect();
        for (output, index, value) in set {
            data[*output][*index] = *value;
        }
        let outputs: Vec<Output<'_>> =
            shapes.iter().zip(&data).map(|(dimensions, data)| Output { dimensions, data }).collect();
        let mut found = Vec::new();
        head.read(&outputs, 0.5, &mut found);
        (head.kind(), found)
    }

    #[test]
    fn yolox_in_planes() {
        // The second grid of 32x32 has 2x2 points; the third of these is at column 0, row 1.
        let shapes: [&[usize]; 3] = [&[7, 4, 4], &[7, 2, 2], &[7, 1, 1]];
        let value = |plane: usize, value: f32| (1, plane * 4 + 2, value);
        let set = [value(0, 0.5), value(1, 0.25), value(4, 1.0), value(6, 0.75)];
        let (kind, found) = read(&shapes, (32, 32), &set);
        assert_eq!(kind, HeadKind::Yolox);
        let expected = Candidate { left: 0., top: 12., right: 16., bottom: 28., score: 0.75, class: 1 };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn yolo_in_planes_with_and_without_the_sum_of_scores() {
        let with: [&[usize]; 9] = [
            &[64, 4, 4],
            &[2, 4, 4],
            &[1, 4, 4],
            &[64, 2, 2],
            &[2, 2, 2],
            &[1, 2, 2],
            &[64, 1, 1],
            &[2, 1, 1],
            &[1, 1, 1],
        ];
        let without: Vec<&[usize]> = with.into_iter().filter(|shape| shape[0] != 1).collect();
        for (shapes, distances) in [(&with[..], 3), (&without[..], 2)] {
            // The last point of the second grid; distances of 0, 1, 0 and 1 strides, which one bin says alone.
            let bin = |side: usize, bin: usize| (distances, (side * 16 + bin) * 4 + 3, 100.0);
            let set = [bin(0, 0), bin(1, 1), bin(2, 0), bin(3, 1), (distances + 1, 3, 0.6)];
            let (kind, found) = read(shapes, (32, 32), &set);
            assert_eq!(kind, HeadKind::Yolo);
            let expected = Candidate { left: 24., top: 8., right: 24., bottom: 40., score: 0.6, class: 0 };
            // A box without width is none; the same one stride wider is.
            assert!(found.is_empty(), "{found:?}");
            let set = [bin(0, 0), bin(1, 1), bin(2, 1), bin(3, 1), (distances + 1, 3, 0.6)];
            let (_, found) = read(shapes, (32, 32), &set);
            assert_eq!(found, [Candidate { right: 40., ..expected }]);
        }
    }
}
