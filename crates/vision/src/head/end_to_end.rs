//! Exports that end with their own suppression of doubles: `left top right bottom score class` a row.

use super::{Candidate, Head, Output, Shape, anchors};

const ROW: usize = 6;

pub(super) fn fits(outputs: &[Shape], input: (usize, usize)) -> Option<Head> {
    let [Shape { dimensions, .. }] = outputs else { return None };
    let [boxes, ROW] = dimensions[..] else { return None };
    // A YOLOX of one class has rows of six too, and one for each point of its grids.
    (boxes != anchors::points(input)).then_some(Head::EndToEnd)
}

pub(super) fn read(output: Output<'_>, threshold: f32, found: &mut Vec<Candidate>) {
    for row in output.data.chunks_exact(ROW) {
        let [left, top, right, bottom, score, class] = row[..] else { continue };
        if score >= threshold && class >= 0.0 {
            found.push(Candidate { left, top, right, bottom, score, class: class as u32 });
        }
    }
}
