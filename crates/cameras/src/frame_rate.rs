//! Fewer frames a second out of more, evenly.

use std::time::Duration;

/// Lets frames through by their times.
#[derive(Debug, Default)]
pub(crate) struct FrameRateLimiter {
    /// When the next one is due.
    due: Duration,
}

impl FrameRateLimiter {
    /// Whether the frame of this time is let through, so that there are `fps` a second on average.
    pub(crate) fn admits(&mut self, at: Duration, fps: u32) -> bool {
        let interval = Duration::from_secs(1) / fps.max(1);
        // A higher rate than before counts at once.
        self.due = self.due.min(at + interval);
        // Frames come a little early as well as late.
        if at + interval / 10 < self.due {
            return false;
        }
        // A little late is made up for, a pause is not.
        self.due = if at > self.due + interval { at + interval } else { self.due + interval };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(fps: u32, times: impl Iterator<Item = u64>) -> usize {
        let mut limiter = FrameRateLimiter::default();
        times.filter(|at| limiter.admits(Duration::from_millis(*at), fps)).count()
    }

    #[test]
    fn the_rate_is_met_on_average() {
        let ten_seconds = |fps: u64| (0..10 * fps).map(move |frame| 5000 + frame * 1000 / fps);
        for (name, from, to, expected) in [
            ("twelve to five", 12, 5, 50),
            ("twelve to twelve", 12, 12, 120),
            ("thirty to one", 30, 1, 10),
            ("fewer than wanted", 3, 12, 30),
        ] {
            let got = kept(to, ten_seconds(from));
            assert!(got.abs_diff(expected) <= 1, "{name}: {got}");
        }
        let uneven = (0..120).map(|frame| 5000 + frame * 1000 / 12 + (frame % 3) * 8);
        assert!(kept(12, uneven) >= 118, "frames that come a little early or late");
    }

    #[test]
    fn a_pause_is_not_caught_up_with_and_a_higher_rate_counts_at_once() {
        let mut limiter = FrameRateLimiter::default();
        let ms = Duration::from_millis;
        assert!(limiter.admits(ms(0), 1));
        assert!(limiter.admits(ms(60_000), 1));
        assert!(!limiter.admits(ms(60_100), 1));
        assert!(!limiter.admits(ms(60_110), 10));
        assert!(limiter.admits(ms(60_210), 10));
    }
}
