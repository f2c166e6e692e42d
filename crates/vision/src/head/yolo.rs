//! YOLOv8 and YOLO11: one column a box, `x y width height` around the centre, then a score for each class.

use super::{Candidate, Head, Output, Shape};

pub(super) fn fits(outputs: &[Shape], labels: Option<usize>) -> Option<Head> {
    // Of models that find outlines too, numbers of outlines follow the classes.
    let (dimensions, outlines) = match outputs {
        [Shape { dimensions, .. }] => (dimensions, 0),
        [Shape { dimensions, .. }, outlines] => (dimensions, outlines.outlines()?),
        _ => return None,
    };
    let [rows, boxes] = dimensions[..] else { return None };
    let classes = rows.checked_sub(4 + outlines).filter(|classes| *classes > 0)?;
    // There are always more places to look at than things to tell.
    (boxes > rows && labels.is_none_or(|labels| labels == classes)).then_some(Head::Yolo { classes })
}

/// Reads along the rows, as they lie in memory: a column at a time would miss the cache with every step.
pub(super) fn read(output: Output<'_>, classes: usize, threshold: f32, found: &mut Vec<Candidate>) {
    let boxes = output.dimensions[1];
    let row = |row: usize| &output.data[row * boxes..][..boxes];
    let (xs, ys, widths, heights) = (row(0), row(1), row(2), row(3));
    let mut best: Vec<(f32, u32)> = vec![(f32::NEG_INFINITY, 0); boxes];
    for class in 0..classes {
        for (best, score) in best.iter_mut().zip(row(4 + class)) {
            if *score > best.0 {
                *best = (*score, class as u32);
            }
        }
    }
    for (index, (score, class)) in best.into_iter().enumerate().filter(|(_, (score, _))| *score >= threshold)
    {
        let (x, y, width, height) = (xs[index], ys[index], widths[index], heights[index]);
        found.push(Candidate::around((x, y), (width, height), score, class));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_class_of_each_column_counts() {
        // Two boxes, two classes.
        let data = [10., 50., 20., 60., 4., 10., 6., 20., 0.9, 0.1, 0.2, 0.3];
        let mut found = Vec::new();
        read(Output { dimensions: &[6, 2], data: &data }, 2, 0.25, &mut found);
        let first = Candidate { left: 8., top: 17., right: 12., bottom: 23., score: 0.9, class: 0 };
        let second = Candidate { left: 45., top: 50., right: 55., bottom: 70., score: 0.3, class: 1 };
        assert_eq!(found, [first, second]);
    }
}
