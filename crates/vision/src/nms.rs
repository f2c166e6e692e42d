//! Which boxes are the same thing.

use crate::head::Candidate;

/// Candidates that are looked at, best first; a picture has no more things in it.
const MOST_CANDIDATES: usize = 3000;

/// Keeps the best of boxes of one class that overlap more than `iou` (intersection over union), best first,
/// `most` at most.
pub(crate) fn suppress(candidates: &mut Vec<Candidate>, iou: f32, most: usize) {
    sort(candidates);
    candidates.truncate(MOST_CANDIDATES);
    let mut kept = 0;
    for index in 0..candidates.len() {
        if kept == most {
            break;
        }
        let candidate = candidates[index];
        let same = |other: &Candidate| other.class == candidate.class && overlap(other, &candidate) > iou;
        if !candidates[..kept].iter().any(same) {
            candidates[kept] = candidate;
            kept += 1;
        }
    }
    candidates.truncate(kept);
}

/// The best first.
pub(crate) fn sort(candidates: &mut [Candidate]) {
    candidates.sort_by(|left, right| right.score.total_cmp(&left.score));
}

/// Intersection over union.
fn overlap(left: &Candidate, right: &Candidate) -> f32 {
    let width = left.right.min(right.right) - left.left.max(right.left);
    let height = left.bottom.min(right.bottom) - left.top.max(right.top);
    let both = width.max(0.0) * height.max(0.0);
    let area = |one: &Candidate| (one.right - one.left) * (one.bottom - one.top);
    let all = area(left) + area(right) - both;
    if all > 0.0 { both / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(at: f32, score: f32, class: u32) -> Candidate {
        Candidate { left: at, top: 0.0, right: at + 10.0, bottom: 10.0, score, class }
    }

    #[test]
    fn the_best_of_boxes_that_overlap_stays_and_classes_do_not_mix() {
        // Shifted by 2 of 10, two squares share 8 of 12.
        let cases: [(Vec<Candidate>, f32, &[f32]); 5] = [
            (vec![square(0., 0.5, 0), square(2., 0.9, 0)], 0.45, &[0.9]),
            (vec![square(0., 0.5, 0), square(2., 0.9, 0)], 0.7, &[0.9, 0.5]),
            (vec![square(0., 0.5, 0), square(2., 0.9, 1)], 0.45, &[0.9, 0.5]),
            // The one in the middle goes, so the last one stays.
            (vec![square(0., 0.9, 0), square(2., 0.8, 0), square(9., 0.7, 0)], 0.45, &[0.9, 0.7]),
            (vec![], 0.5, &[]),
        ];
        for (mut candidates, iou, expected) in cases {
            suppress(&mut candidates, iou, 10);
            let scores: Vec<f32> = candidates.iter().map(|candidate| candidate.score).collect();
            assert_eq!(scores, expected);
        }
        let mut many: Vec<Candidate> = (0..20_u8).map(|n| square(f32::from(n) * 100.0, 0.5, 0)).collect();
        suppress(&mut many, 0.5, 7);
        assert_eq!(many.len(), 7);
    }
}
