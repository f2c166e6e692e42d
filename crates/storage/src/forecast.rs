//! When the disk will be full, if it goes on like this.

use std::collections::VecDeque;
use std::time::Duration;

use crate::rules::Floor;
use crate::space::Space;

/// Between samples.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// What is older says nothing about now.
const WINDOW: Duration = Duration::from_secs(24 * 3600);
/// A shorter history says nothing.
const LEAST: Duration = Duration::from_secs(3600);
/// Beyond this nobody needs to know.
const FARTHEST: Duration = Duration::from_secs(365 * 24 * 3600);
const DAY_S: f64 = 86_400.0;

/// What the disk held over the last day, in memory.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    /// That are free.
    bytes: u64,
    inodes: u64,
}

/// How it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Until ordinary writers must stop.
    pub full_in: Duration,
    /// Bytes that are written in a day.
    pub bytes_per_day: u64,
}

impl History {
    /// Notes what is free at `at` on a clock that is never set. More often than every five minutes changes nothing.
    pub fn record(&mut self, at: Duration, space: &Space) {
        if self.samples.back().is_some_and(|last| at < last.at + EVERY) {
            return;
        }
        self.samples.push_back(Sample { at, bytes: space.free_bytes, inodes: space.free_inodes });
        while self.samples.front().is_some_and(|first| first.at + WINDOW < at) {
            self.samples.pop_front();
        }
    }

    /// When the floor will be reached. None when the disk does not fill, or not within a year, or when too
    /// little is known yet.
    ///
    /// Only what goes on counts: the slower of the growth over the whole history and over its second half,
    /// so that one large model that came is no trend.
    pub fn forecast(&self, floor: Floor) -> Option<Forecast> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let span = last.at.saturating_sub(first.at);
        if span < LEAST {
            return None;
        }
        let middle = self.samples.iter().rev().find(|sample| sample.at <= first.at + span / 2)?;
        let rate = |which: fn(&Sample) -> u64| {
            let since = |from: &Sample| {
                which(from).saturating_sub(which(last)) as f64 / last.at.saturating_sub(from.at).as_secs_f64()
            };
            since(first).min(since(middle))
        };
        let (bytes, inodes) = (rate(|sample| sample.bytes), rate(|sample| sample.inodes));
        let lasts =
            |free: u64, floor: u64, rate: f64| (rate > 0.0).then(|| free.saturating_sub(floor) as f64 / rate);
        let ends = [lasts(last.bytes, floor.bytes, bytes), lasts(last.inodes, floor.inodes, inodes)];
        let seconds = ends.into_iter().flatten().reduce(f64::min)?;
        let full_in = Duration::try_from_secs_f64(seconds).ok().filter(|wait| *wait <= FARTHEST)?;
        Some(Forecast { full_in, bytes_per_day: (bytes * DAY_S) as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::fixture::GIB;

    const FLOOR: Floor = Floor { bytes: GIB, inodes: 1000 };

    /// Samples every ten minutes; `free` tells bytes and inodes at each.
    fn history(samples: u64, free: impl Fn(u64) -> (u64, u64)) -> History {
        let mut history = History::default();
        for number in 0..samples {
            let (free_bytes, free_inodes) = free(number);
            let space = Space {
                total_bytes: 1000 * GIB,
                free_bytes,
                reserved_bytes: 0,
                total_inodes: 1_000_000,
                free_inodes,
                read_only: false,
            };
            history.record(Duration::from_secs(number * 600), &space);
        }
        history
    }

    #[test]
    fn steady_growth_tells_when_the_floor_is_reached() {
        // A GiB an hour; 25 are left after 12 hours.
        let bytes = history(73, |number| (37 * GIB - number * GIB / 6, 500_000)).forecast(FLOOR);
        let bytes = bytes.expect("it fills");
        assert!(bytes.full_in.as_secs().abs_diff(24 * 3600) < 60, "{bytes:?}");
        assert!(bytes.bytes_per_day.abs_diff(24 * GIB) < GIB / 100, "{bytes:?}");
        let inodes = history(13, |number| (500 * GIB, 13_000 - number * 100)).forecast(FLOOR);
        let inodes = inodes.expect("it fills with small files");
        assert!(inodes.full_in.as_secs().abs_diff(108 * 600) < 60, "{inodes:?}");
        assert_eq!(inodes.bytes_per_day, 0);
    }

    #[test]
    fn what_is_no_trend_is_no_forecast() {
        let still = history(73, |_| (37 * GIB, 500_000));
        let freed = history(73, |number| (37 * GIB + number * GIB, 500_000));
        let once = history(73, |number| (if number < 20 { 90 * GIB } else { 37 * GIB }, 500_000));
        let brief = history(6, |number| (37 * GIB - number * GIB, 500_000));
        let slow = history(73, |number| (900 * GIB - number, 500_000));
        for (name, history) in
            [("still", still), ("freed", freed), ("one large model", once), ("brief", brief), ("slow", slow)]
        {
            assert_eq!(history.forecast(FLOOR), None, "{name}");
        }
        assert_eq!(History::default().forecast(FLOOR), None);
    }

    #[test]
    fn the_history_is_bounded_and_a_disk_below_its_floor_is_full_now() {
        let long = history(1000, |number| (GIB - number * 1024, 500_000));
        assert_eq!(long.samples.len(), 145);
        assert_eq!(long.forecast(FLOOR).expect("full").full_in, Duration::ZERO);
        let mut often = History::default();
        let space = Space {
            total_bytes: 1,
            free_bytes: 1,
            reserved_bytes: 0,
            total_inodes: 1,
            free_inodes: 1,
            read_only: false,
        };
        for second in 0..600 {
            often.record(Duration::from_secs(second), &space);
        }
        assert_eq!(often.samples.len(), 2);
    }
}
