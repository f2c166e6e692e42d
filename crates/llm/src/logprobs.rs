//! Probabilities of tokens, as the model gives them.

/// The logarithm of the sum of the exponentials: what a logit lacks to be a log probability.
///
/// Computed around the greatest logit, so that nothing overflows. Infinitely small logits count as nothing.
/// In double precision: at a scale of thousands a float is too coarse for the difference.
pub(crate) fn normalizer(logits: &[f32]) -> f64 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !greatest.is_finite() {
        return greatest.into();
    }
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - greatest).exp()).sum();
    f64::from(greatest) + sum.ln()
}

/// The log probability of one logit, given the [`normalizer`] of all.
pub(crate) fn logprob(logit: f32, normalizer: f64) -> f32 {
    (f64::from(logit) - normalizer) as f32
}

/// The indices of the `count` greatest logits, greatest first; the first of equals goes first.
pub(crate) fn best(logits: &[f32], count: usize) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let mut best: Vec<usize> = Vec::with_capacity(count + 1);
    for (index, logit) in logits.iter().enumerate() {
        if best.len() == count && best.last().is_some_and(|last| logits[*last] >= *logit) {
            continue;
        }
        let place = best.partition_point(|other| logits[*other] >= *logit);
        best.insert(place, index);
        best.truncate(count);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::{best, logprob, normalizer};

    #[test]
    fn probabilities_add_up_to_one_whatever_the_scale() {
        for logits in
            [vec![0.0, 1.0, 2.0], vec![1000.0, 999.0], vec![-1e4, -1e4], vec![5.0, f32::NEG_INFINITY]]
        {
            let all = normalizer(&logits);
            let sum: f32 = logits.iter().map(|logit| logprob(*logit, all).exp()).sum();
            assert!((sum - 1.0).abs() < 1e-4, "{logits:?} add up to {sum}");
        }
        assert!((normalizer(&[0.0, 0.0]) - 2.0_f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn the_best_come_first() {
        let logits = [0.5, 3.0, -1.0, 3.0, 2.0];
        assert_eq!(best(&logits, 0), Vec::<usize>::new());
        assert_eq!(best(&logits, 3), [1, 3, 4]);
        assert_eq!(best(&logits, 9), [1, 3, 4, 0, 2]);
    }
}
