//! Wrong codes and passwords make the next attempt wait, longer each time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong attempts that cost nothing.
const FREE: u32 = 5;
/// The wait never grows beyond this, so that the owner is not locked out for good.
const LONGEST: Duration = Duration::from_secs(300);

/// Counts wrong attempts on this box, whoever makes them.
#[derive(Debug, Default)]
pub struct Attempts {
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    wrong: u32,
    last: Option<Instant>,
}

impl Attempts {
    /// How long the next attempt still has to wait; zero means go ahead.
    pub fn wait(&self, now: Instant) -> Duration {
        let state = *self.lock();
        let Some(last) = state.last else { return Duration::ZERO };
        delay(state.wrong).saturating_sub(now.saturating_duration_since(last))
    }

    /// Notes a wrong attempt.
    pub fn failed(&self, now: Instant) {
        let mut state = self.lock();
        state.wrong = state.wrong.saturating_add(1);
        state.last = Some(now);
    }

    /// Forgets, after a right one.
    pub fn succeeded(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 0 for the first five, then 2, 4, 8 … seconds.
fn delay(wrong: u32) -> Duration {
    match wrong.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(beyond) => Duration::from_secs(2_u64.saturating_pow(beyond + 1)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_after_five_wrong_attempts_and_ends_with_a_right_one() {
        let attempts = Attempts::default();
        let start = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..16 {
            attempts.failed(start);
            waits.push(attempts.wait(start).as_secs());
        }
        assert_eq!(waits, [0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]);
        assert_eq!(attempts.wait(start + Duration::from_secs(299)), Duration::from_secs(1));
        attempts.succeeded();
        assert_eq!(attempts.wait(start), Duration::ZERO);
    }
}
