//! One entry of the table of tensors.

use std::io::{Read, Seek};

use super::reader::Reader;
use super::{GgufError, bounded};

const MAX_DIMENSIONS: u32 = 4;
/// Longest name that ggml keeps.
const MAX_NAME: u64 = 63;

/// Where a tensor's data is.
pub(super) struct Tensor {
    pub(super) name: String,
    /// From the beginning of the data.
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) elements: u64,
    /// Number of its ggml type.
    pub(super) kind: u32,
}

impl Tensor {
    pub(super) fn read<S: Read + Seek>(reader: &mut Reader<S>) -> Result<Self, GgufError> {
        let name = reader.text()?;
        bounded("the length of a tensor's name", name.len() as u64, MAX_NAME)?;
        let dimensions = reader.u32()?;
        bounded("the number of dimensions", dimensions.into(), MAX_DIMENSIONS.into())?;
        let mut shape = [1_u64; MAX_DIMENSIONS as usize];
        for length in shape.iter_mut().take(dimensions as usize) {
            *length = reader.u64()?;
        }
        let kind = reader.u32()?;
        let (bytes, block) = block(kind).ok_or(GgufError::Type { what: "tensor", number: kind })?;
        let offset = reader.u64()?;
        let [row, rest @ ..] = shape;
        if !row.is_multiple_of(block) {
            return Err(GgufError::Row { name, row, block });
        }
        let rows = rest.iter().fold(1_u64, |product, length| product.saturating_mul(*length));
        let bytes = (row / block).saturating_mul(bytes).saturating_mul(rows);
        Ok(Self { name, offset, bytes, elements: row.saturating_mul(rows), kind })
    }
}

/// Bytes of a block and elements in it, by ggml type number.
///
/// From the block structures of `ggml-common.h`; numbers that are missing were withdrawn.
const fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 | 26 => (4, 1),
        1 | 25 | 30 => (2, 1),
        2 | 20 => (18, 32),
        3 => (20, 32),
        6 => (22, 32),
        7 => (24, 32),
        8 => (34, 32),
        9 => (36, 32),
        10 => (84, 256),
        11 | 21 => (110, 256),
        12 => (144, 256),
        13 => (176, 256),
        14 => (210, 256),
        15 => (292, 256),
        16 | 35 => (66, 256),
        17 => (74, 256),
        18 => (98, 256),
        19 => (50, 256),
        22 => (82, 256),
        23 => (136, 256),
        24 => (1, 1),
        27 | 28 => (8, 1),
        29 => (56, 256),
        34 => (54, 256),
        39 => (17, 32),
        40 => (36, 64),
        41 => (18, 128),
        42 => (18, 64),
        _ => return None,
    })
}
