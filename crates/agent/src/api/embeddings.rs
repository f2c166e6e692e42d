//! Texts that become vectors: what may be embedded, and vectors cut short.

use actionbooster_chassis::Problem;

use super::lenient::Integer;
use super::validation::{count, invalid};
use crate::query::MOST_PROMPT_BYTES;

/// Texts of one request at most; OpenAI's own limit.
const MOST_INPUTS: usize = 2048;

/// Texts that can be embedded: not too much of them.
pub(crate) fn checked(param: &'static str, texts: Vec<String>) -> Result<Vec<String>, Problem> {
    if texts.len() > MOST_INPUTS {
        return Err(invalid(param, format!("`{param}` may hold at most {MOST_INPUTS} texts.")));
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    if bytes > MOST_PROMPT_BYTES {
        return Err(invalid(
            param,
            format!("`{param}` has {bytes} bytes; at most {MOST_PROMPT_BYTES} are read."),
        ));
    }
    Ok(texts)
}

/// How many numbers of each vector are wanted.
pub(crate) fn dimensions(wanted: Option<Integer>) -> Result<Option<usize>, Problem> {
    Ok(count("dimensions", wanted, 1, u32::MAX)?.map(|wanted| wanted as usize))
}

/// The first numbers of a vector, brought to length 1 again: how models trained for it are shortened.
pub(crate) fn shortened(mut vector: Vec<f32>, dimensions: Option<usize>) -> Result<Vec<f32>, Problem> {
    let Some(wanted) = dimensions else { return Ok(vector) };
    if wanted == 0 || wanted > vector.len() {
        let detail = format!("`dimensions` is {wanted}; this model's vectors have {} numbers.", vector.len());
        return Err(invalid("dimensions", detail));
    }
    if wanted < vector.len() {
        vector.truncate(wanted);
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        if length > 0.0 {
            for value in &mut vector {
                *value /= length;
            }
        }
    }
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_shortened_and_brought_to_length_one() {
        assert_eq!(shortened(vec![3.0, 4.0, 12.0], Some(2)).ok(), Some(vec![0.6, 0.8]));
        assert_eq!(shortened(vec![0.6, 0.8], None).ok(), Some(vec![0.6, 0.8]));
        assert!(shortened(vec![1.0], Some(2)).is_err());
        assert!(shortened(vec![1.0], Some(0)).is_err());
    }
}
