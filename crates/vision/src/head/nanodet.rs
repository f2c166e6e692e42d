//! NanoDet: a score for each class, and for each side of the box a distribution over distances in strides
//! (generalised focal loss, arXiv:2006.04388). The distance is the distribution's mean.

use super::{Candidate, Head, Output, Shape, anchors, best};

/// Sides of a box.
pub(super) const SIDES: usize = 4;
/// Distances that published models tell apart, at least.
const FEWEST_BINS: usize = 8;
/// Classes of COCO, which models without names are taken to know.
const USUAL_CLASSES: usize = 80;

/// Where scores and distances are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(super) classes: usize,
    bins: usize,
    input: (usize, usize),
    /// Outputs of scores and of distances for each stride; none when one output holds both, side by side.
    split: Option<[(usize, usize); 3]>,
}

pub(super) fn fits(outputs: &[Shape], input: (usize, usize), labels: Option<usize>) -> Option<Head> {
    let layout = match outputs {
        [Shape { dimensions, .. }] => {
            let [points, row] = dimensions[..] else { return None };
            let classes = labels.unwrap_or(USUAL_CLASSES);
            let distances = row.checked_sub(classes)?;
            let fits = points == anchors::points(input) && distances.is_multiple_of(SIDES);
            return fits.then(|| joined(classes, distances / SIDES, input)).flatten();
        }
        outputs if outputs.len() == 6 => split(outputs, input, labels),
        _ => None,
    };
    layout.filter(|layout| layout.bins >= FEWEST_BINS).map(Head::Nanodet)
}

/// One output that holds the scores of a point and then its distances.
pub(super) fn joined(classes: usize, bins: usize, input: (usize, usize)) -> Option<Head> {
    let layout = Layout { classes, bins, input, split: None };
    (bins >= FEWEST_BINS).then_some(Head::Nanodet(layout))
}

/// Finds the two outputs of each stride by their number of points; of these the scores come first.
fn split(outputs: &[Shape], input: (usize, usize), labels: Option<usize>) -> Option<Layout> {
    let mut found = [(0, 0); 3];
    let mut widths = None;
    for (place, (_, columns, rows)) in found.iter_mut().zip(anchors::grids(input)) {
        let mut of_stride = outputs.iter().enumerate().filter_map(|(index, output)| {
            let [points, row] = output.dimensions[..] else { return None };
            (points == columns * rows).then_some((index, row))
        });
        let ((scores, classes), (distances, sides)) = (of_stride.next()?, of_stride.next()?);
        *place = (scores, distances);
        if widths.is_some_and(|widths| widths != (classes, sides)) {
            return None;
        }
        widths = Some((classes, sides));
    }
    let (classes, sides) = widths?;
    let fits = sides.is_multiple_of(SIDES) && labels.is_none_or(|labels| labels == classes);
    fits.then_some(Layout { classes, bins: sides / SIDES, input, split: Some(found) })
}

impl Layout {
    pub(super) fn read(&self, outputs: &[Output<'_>], threshold: f32, found: &mut Vec<Candidate>) {
        let sides = self.bins * SIDES;
        let mut first = 0;
        for (index, (stride, columns, rows)) in anchors::grids(self.input).into_iter().enumerate() {
            for point in 0..columns * rows {
                let (scores, distances) = if let Some(split) = self.split {
                    let (scores, distances) = split[index];
                    let scores = &outputs[scores].data[point * self.classes..][..self.classes];
                    (scores, &outputs[distances].data[point * sides..][..sides])
                } else {
                    let row = self.classes + sides;
                    outputs[0].data[(first + point) * row..][..row].split_at(self.classes)
                };
                let (class, score) = best(scores);
                if score < threshold {
                    continue;
                }
                let stride = stride as f32;
                let centre = |place: usize| (place as f32 + 0.5) * stride;
                let (x, y) = (centre(point % columns), centre(point / columns));
                let side = |side: usize| mean(&distances[side * self.bins..][..self.bins]) * stride;
                found.push(Candidate {
                    left: x - side(0),
                    top: y - side(1),
                    right: x + side(2),
                    bottom: y + side(3),
                    score,
                    class: class as u32,
                });
            }
            first += columns * rows;
        }
    }
}

/// Mean of the distribution that logits stand for.
fn mean(logits: &[f32]) -> f32 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (distance, logit) in logits.iter().enumerate() {
        let weight = (logit - greatest).exp();
        sum += weight;
        weighted += weight * distance as f32;
    }
    weighted / sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_the_mean_of_their_distribution() {
        assert!((mean(&[0.0; 8]) - 3.5).abs() < 1e-6);
        let mut sure = [0.0; 8];
        sure[2] = 100.0;
        assert!((mean(&sure) - 2.0).abs() < 1e-6);
        assert!((mean(&[1000.0, 1000.0]) - 0.5).abs() < 1e-6, "large logits do not overflow");
    }

    #[test]
    fn one_output_and_one_of_each_stride_say_the_same() {
        let (input, classes, bins) = ((32, 32), 2, 8);
        let points = [16, 4, 1];
        let mut parts: Vec<Vec<f32>> = points.iter().map(|points| vec![0.0; points * classes]).collect();
        parts.extend(points.iter().map(|points| vec![0.0; points * bins * SIDES]));
        // The third point of the second grid.
        parts[1][2 * classes + 1] = 0.7;
        for side in 0..SIDES {
            parts[4][2 * bins * SIDES + side * bins + side] = 100.0;
        }
        let mut joined = Vec::new();
        for (scores, distances) in parts[..3].iter().zip(&parts[3..]) {
            for (scores, distances) in scores.chunks(classes).zip(distances.chunks(bins * SIDES)) {
                joined.extend_from_slice(scores);
                joined.extend_from_slice(distances);
            }
        }
        let shape = |dimensions: Vec<usize>| Shape { name: String::new(), dimensions };
        let split: Vec<Shape> = parts
            .iter()
            .enumerate()
            .map(|(index, part)| shape(vec![points[index % 3], part.len() / points[index % 3]]))
            .collect();
        let read = |shapes: &[Shape], data: &[&[f32]]| {
            let head = fits(shapes, input, Some(classes)).expect("fits");
            let outputs: Vec<Output> = shapes
                .iter()
                .zip(data)
                .map(|(shape, data)| Output { dimensions: &shape.dimensions, data })
                .collect();
            let mut found = Vec::new();
            head.read(&outputs, 0.5, &mut found);
            found
        };
        let apart = read(&split, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let together = read(&[shape(vec![21, classes + bins * SIDES])], &[&joined]);
        assert_eq!(apart, together);
        let [found] = apart[..] else { panic!("{apart:?}") };
        // Centre 8, 24; distances 0, 1, 2 and 3 strides of 16.
        let expected = Candidate { left: 8., top: 8., right: 40., bottom: 72., score: 0.7, class: 1 };
        assert_eq!(found, expected);
    }
}
