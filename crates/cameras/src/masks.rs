//! Parts of a picture in which nothing counts.

use serde::{Deserialize, Serialize};

/// Corners of a mask at most.
const MOST_CORNERS: usize = 64;

/// A polygon. What has its centre within is not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Its corners in order, each `[x, y]` between 0 and 1 of the picture from its top left; the last one
    /// is joined to the first.
    pub points: Vec<[f32; 2]>,
}

impl Mask {
    /// Says what is wrong with it, if anything is.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(3..=MOST_CORNERS).contains(&self.points.len()) {
            let corners = self.points.len();
            return Err(format!("a mask has 3 to {MOST_CORNERS} corners, this one {corners}"));
        }
        for [x, y] in &self.points {
            if !(0.0..=1.0).contains(x) || !(0.0..=1.0).contains(y) {
                return Err(format!(
                    "the corner [{x}, {y}] lies outside of the picture, which goes from 0 to 1"
                ));
            }
        }
        Ok(())
    }

    /// Whether the point lies within: a line from it to the right crosses the border an odd number of times.
    pub fn covers(&self, x: f32, y: f32) -> bool {
        let Some(mut before) = self.points.last() else { return false };
        let mut within = false;
        for corner in &self.points {
            let ([ax, ay], [bx, by]) = (*before, *corner);
            // Only one end counts as above, so a corner at the height of the line is crossed once.
            if (ay > y) != (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax {
                within = !within;
            }
            before = corner;
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(points: &[[f32; 2]]) -> Mask {
        Mask { points: points.to_vec() }
    }

    #[test]
    fn points_are_within_or_outside() {
        let square = mask(&[[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]);
        // The same the other way round.
        let reversed = mask(&[[0.2, 0.8], [0.8, 0.8], [0.8, 0.2], [0.2, 0.2]]);
        let triangle = mask(&[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        // A U that is open above.
        let hollow = mask(&[
            [0.1, 0.1],
            [0.3, 0.1],
            [0.3, 0.7],
            [0.7, 0.7],
            [0.7, 0.1],
            [0.9, 0.1],
            [0.9, 0.9],
            [0.1, 0.9],
        ]);
        let cases = [
            ("the middle", &square, 0.5, 0.5, true),
            ("the middle, reversed", &reversed, 0.5, 0.5, true),
            ("left of it", &square, 0.1, 0.5, false),
            ("right of it", &square, 0.9, 0.5, false),
            ("above", &square, 0.5, 0.1, false),
            ("below", &square, 0.5, 0.9, false),
            ("left at the height of a corner", &square, 0.1, 0.2, false),
            ("under the slope", &triangle, 0.3, 0.3, true),
            ("over the slope", &triangle, 0.7, 0.7, false),
            ("in the arm", &hollow, 0.2, 0.3, true),
            ("in the hollow", &hollow, 0.5, 0.3, false),
            ("in the floor", &hollow, 0.5, 0.8, true),
            ("in the other arm", &hollow, 0.8, 0.3, true),
            ("no corners", &mask(&[]), 0.5, 0.5, false),
            ("all on a line", &mask(&[[0.1, 0.5], [0.9, 0.5], [0.5, 0.5]]), 0.5, 0.5, false),
            ("not a number", &square, f32::NAN, 0.5, false),
        ];
        for (name, mask, x, y, within) in cases {
            assert_eq!(mask.covers(x, y), within, "{name}");
        }
    }

    #[test]
    fn neighbours_leave_no_point_between_them_and_share_none() {
        let left = mask(&[[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]);
        let right = mask(&[[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]);
        for step in 0_u8..100 {
            let x = f32::from(step) / 100.0;
            assert!(left.covers(x, 0.5) ^ right.covers(x, 0.5), "at {x}");
        }
    }

    #[test]
    fn what_is_no_polygon_of_the_picture_is_told() {
        let cases = [
            (mask(&[[0.0, 0.0], [1.0, 0.0]]), "3 to 64"),
            (mask(&[[0.5, 0.5]; 65]), "3 to 64"),
            (mask(&[[0.0, 0.0], [1.0, 0.0], [1.0, 1.5]]), "[1, 1.5]"),
            (mask(&[[0.0, 0.0], [1.0, 0.0], [f32::NAN, 0.5]]), "[NaN, 0.5]"),
        ];
        for (mask, told) in cases {
            let message = mask.check().expect_err("wrong");
            assert!(message.contains(told), "{message}");
        }
        assert_eq!(mask(&[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]).check(), Ok(()));
    }
}
