//! How long to wait before trying again.

use std::time::Duration;

/// Waits that double from `first` to `most`, each up to a quarter shorter so that many do not try at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// How long to wait now. `chance` lies between 0 and 1.
    pub(crate) fn wait(&mut self, chance: f64) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.most);
        wait.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 4.0)
    }

    /// It worked: the next wait is the first again.
    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_begin_again_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let waits = |count: usize, backoff: &mut Backoff| -> Vec<u128> {
            (0..count).map(|_| backoff.wait(0.0).as_millis()).collect()
        };
        assert_eq!(waits(8, &mut backoff), [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        backoff.reset();
        assert_eq!(waits(2, &mut backoff), [500, 1000]);
        backoff.reset();
        assert_eq!(backoff.wait(1.0).as_millis(), 375, "a quarter shorter at most");
    }
}
