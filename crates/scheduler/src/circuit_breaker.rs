//! When a model that keeps dying is left alone for a while.

use std::time::{Duration, Instant};

/// So many failures in a row open the circuit breaker.
pub(crate) const FAILURE_LIMIT: u32 = 3;
/// How long it stays open.
const OPEN: Duration = Duration::from_secs(120);

/// The failures of one model since it last worked.
#[derive(Debug, Default, Clone)]
pub(crate) struct CircuitBreaker {
    failures: u32,
    last_reason: String,
    open_until: Option<Instant>,
}

impl CircuitBreaker {
    /// Notes one more failure.
    pub(crate) fn record_failure(&mut self, reason: &str, now: Instant) {
        self.failures += 1;
        reason.clone_into(&mut self.last_reason);
        if self.failures >= FAILURE_LIMIT {
            self.open_until = Some(now + OPEN);
            // Once it has closed, one failure is enough.
            self.failures = FAILURE_LIMIT - 1;
        }
    }

    /// How long it stays open and the last failure; nothing when it is closed.
    pub(crate) fn open(&self, now: Instant) -> Option<(Duration, &str)> {
        let left = self.open_until?.checked_duration_since(now)?;
        (!left.is_zero()).then_some((left, self.last_reason.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_open_it_and_the_next_one_at_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut breaker = CircuitBreaker::default();
        for second in 0..2 {
            breaker.record_failure("boom", at(second));
            assert!(breaker.open(at(second)).is_none(), "after {} failures", second + 1);
        }
        breaker.record_failure("bang", at(2));
        assert_eq!(breaker.open(at(2)), Some((OPEN, "bang")));
        assert_eq!(breaker.open(at(121)), Some((Duration::from_secs(1), "bang")));
        assert_eq!(breaker.open(at(122)), None, "it is closed again");
        breaker.record_failure("again", at(130));
        assert_eq!(breaker.open(at(130)), Some((OPEN, "again")), "one failure is enough then");
    }
}
