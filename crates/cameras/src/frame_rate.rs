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
        // Frames come a little early as well as late.
        let early = interval / 10;
        // A higher rate than before counts at once.
        self.due = self.due.min(at + interval + early);
        if at + early < self.due {
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

    /// When the pictures of a minute come, in milliseconds: up to a third of their distance late, as over a network.
    fn a_minute(fps: f64) -> impl Iterator<Item = u64> {
        let distance = 1000.0 / fps;
        (0..(60.0 * fps) as u32).map(move |frame| {
            let late = f64::from(frame.wrapping_mul(2_654_435_761) >> 24) / 256.0 / 3.0;
            5000 + ((f64::from(frame) + late) * distance) as u64
        })
    }

    #[test]
    fn every_source_gives_what_is_wished_or_what_it_has() {
        for source in [0.5, 1.0, 5.0, 10.0, 15.0, 25.0, 30.0] {
            for wished in [1, 2, 5, 12, 30] {
                let got = kept(wished, a_minute(source)) as f64;
                let expected = 60.0 * source.min(f64::from(wished));
                let even = 60.0 * f64::from(wished);
                assert!(got >= expected * 0.97 && got <= even + 2.0, "{source} a second at {wished}: {got}");
            }
        }
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
