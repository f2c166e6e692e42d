//! YOLOX: a row a box, offsets and logarithms on three grids, an objectness, then a score for each class.
//! The formulas are those of its paper (arXiv:2107.08430) and of the exports its authors publish.

use super::{Candidate, Head, Output, Shape, anchors, best};

/// Numbers of a row before the classes: x, y, width, height, objectness.
const FIXED: usize = 5;

pub(super) fn fits(outputs: &[Shape], input: (usize, usize), labels: Option<usize>) -> Option<Head> {
    let [Shape { dimensions, .. }] = outputs else { return None };
    let [boxes, row] = dimensions[..] else { return None };
    let classes = row.checked_sub(FIXED).filter(|classes| *classes > 0)?;
    let fits = boxes == anchors::points(input) && labels.is_none_or(|labels| labels == classes);
    fits.then_some(Head::Yolox { classes, input })
}

pub(super) fn read(
    output: Output<'_>,
    classes: usize,
    input: (usize, usize),
    threshold: f32,
    found: &mut Vec<Candidate>,
) {
    let mut rows = output.data.chunks_exact(FIXED + classes);
    for (stride, columns, lines) in anchors::grids(input) {
        let stride = stride as f32;
        for line in 0..lines {
            for (column, row) in rows.by_ref().take(columns).enumerate() {
                let [x, y, width, height, objectness] = row[..FIXED] else { continue };
                // No class can lift it over the threshold.
                if objectness < threshold {
                    continue;
                }
                let (class, score) = best(&row[FIXED..]);
                let score = score * objectness;
                if score < threshold {
                    continue;
                }
                let (x, y) = ((x + column as f32) * stride, (y + line as f32) * stride);
                let (width, height) = (width.exp() * stride, height.exp() * stride);
                found.push(Candidate::around((x, y), (width, height), score, class as u32));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_from_the_point_of_the_grid() {
        // An input of 32x32 has 16 + 4 + 1 points; the 18th is the second of the grid with stride 16.
        let mut data = vec![0.0; 21 * 7];
        data[17 * 7..][..7].copy_from_slice(&[0.5, 0.25, 0.0, 2.0_f32.ln(), 0.8, 0.1, 0.5]);
        let mut found = Vec::new();
        read(Output { dimensions: &[21, 7], data: &data }, 2, (32, 32), 0.3, &mut found);
        let [found] = found[..] else { panic!("{found:?}") };
        assert_eq!((found.class, found.score), (1, 0.4));
        let close = |have: f32, want: f32| assert!((have - want).abs() < 1e-4, "{found:?}");
        close(found.left, 16.0);
        close(found.right, 32.0);
        close(found.top, 4.0 - 16.0);
        close(found.bottom, 4.0 + 16.0);
    }
}
