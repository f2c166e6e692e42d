//! Names of the ways in which numbers are stored.

use std::collections::BTreeMap;

use super::tensor::Tensor;

/// Numbers in all tensors, and the type that most of them are stored in.
pub(super) fn measure(table: &[Tensor]) -> (u64, &'static str) {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for tensor in table {
        let count = counts.entry(tensor.kind).or_default();
        *count = count.saturating_add(tensor.elements);
    }
    let all = counts.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
    let most = counts.iter().max_by_key(|(_, count)| **count).map_or("", |(kind, _)| tensor_type(*kind));
    (all, most)
}

/// Name of a ggml type by its number (`enum ggml_type`).
const fn tensor_type(kind: u32) -> &'static str {
    match kind {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        29 => "IQ1_M",
        30 => "BF16",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => "mixed",
    }
}

/// Name of `general.file_type` (`enum llama_ftype`).
pub(super) const fn file_type(number: i128) -> Option<&'static str> {
    Some(match number {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_most_numbers_names_the_model() {
        let tensor = |kind, elements| Tensor { name: String::new(), offset: 0, bytes: 0, elements, kind };
        assert_eq!(measure(&[tensor(0, 5), tensor(12, 90), tensor(14, 20)]), (115, "Q4_K"));
        assert_eq!(measure(&[]), (0, ""));
        assert_eq!(measure(&[tensor(0, u64::MAX), tensor(8, 1)]), (u64::MAX, "F32"));
        assert_eq!(file_type(15), Some("Q4_K_M"));
        assert_eq!(file_type(999), None);
    }
}
