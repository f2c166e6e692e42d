//! When a model that keeps dying is left alone for a while.

use std::time::{Duration, Instant};

/// A model that dies this often in a row rests.
pub(super) const LIMIT: u32 = 3;
/// How long it rests.
const REST: Duration = Duration::from_secs(120);

/// The failures of one model since it last worked.
#[derive(Debug, Default, Clone)]
pub(super) struct Failures {
    count: u32,
    reason: String,
    until: Option<Instant>,
}

impl Failures {
    /// Notes one more.
    pub(super) fn note(&mut self, reason: &str, now: Instant) {
        self.count += 1;
        reason.clone_into(&mut self.reason);
        if self.count >= LIMIT {
            self.until = Some(now + REST);
            // After the rest it has one try before the next.
            self.count = LIMIT - 1;
        }
    }

    /// How long the model still rests, if it does, and why.
    pub(super) fn resting(&self, now: Instant) -> Option<(Duration, &str)> {
        let left = self.until?.checked_duration_since(now)?;
        (!left.is_zero()).then_some((left, self.reason.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_make_a_model_rest_and_the_next_one_at_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut failures = Failures::default();
        for second in 0..2 {
            failures.note("boom", at(second));
            assert!(failures.resting(at(second)).is_none(), "after {} failures", second + 1);
        }
        failures.note("bang", at(2));
        assert_eq!(failures.resting(at(2)), Some((REST, "bang")));
        assert_eq!(failures.resting(at(121)), Some((Duration::from_secs(1), "bang")));
        assert_eq!(failures.resting(at(122)), None, "the rest is over");
        failures.note("again", at(130));
        assert_eq!(failures.resting(at(130)), Some((REST, "again")), "one failure is enough then");
    }
}
