//! The grid of points that detectors without anchor boxes look from.

/// Strides of every family here, in pixels of the input.
const STRIDES: [usize; 3] = [8, 16, 32];

/// Points of the grids of an input for each stride: stride, columns, rows.
pub(crate) fn grids((width, height): (usize, usize)) -> [(usize, usize, usize); 3] {
    STRIDES.map(|stride| (stride, width.div_ceil(stride), height.div_ceil(stride)))
}

/// Points of all grids together.
pub(crate) fn points(input: (usize, usize)) -> usize {
    grids(input).iter().map(|(_, columns, rows)| columns * rows).sum()
}
