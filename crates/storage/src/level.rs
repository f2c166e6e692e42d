//! How serious it is.

use std::time::Duration;

use crate::forecast::Forecast;
use crate::size::Size;
use crate::space::Space;

/// Health warns at so many times the floor.
const WARN: u64 = 2;
/// A forecast is a reason to warn when the disk is full so soon,
const SOON: Duration = Duration::from_secs(24 * 3600);
/// and no more than this part of it is left.
const SOON_SHARE: u64 = 4;

/// What to do: the words of every warning.
const FREE: &str = "free some in the portal under The box, Space, or see `boosterctl storage`";

/// How full the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is room.
    Roomy,
    /// It will soon be full.
    Low,
    /// Ordinary writers have stopped.
    Full,
}

impl Level {
    /// Judges what is left and how it goes on.
    pub fn of(space: &Space, forecast: Option<&Forecast>) -> Self {
        let floor = space.floor();
        let counted = space.total_inodes > 0;
        if space.free_bytes < floor.bytes || (counted && space.free_inodes < floor.inodes) {
            return Self::Full;
        }
        let little =
            space.free_bytes < floor.bytes * WARN || (counted && space.free_inodes < floor.inodes * WARN);
        let soon = forecast.is_some_and(|forecast| forecast.full_in < SOON)
            && (space.free_bytes < space.total_bytes / SOON_SHARE
                || space.free_inodes < space.total_inodes / SOON_SHARE);
        if little || soon { Self::Low } else { Self::Roomy }
    }

    /// The word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Roomy => "ok",
            Self::Low => "low",
            Self::Full => "full",
        }
    }

    /// What is wrong and what to do; nothing when nothing is.
    pub fn words(self, space: &Space, forecast: Option<&Forecast>) -> String {
        let floor = space.floor();
        let files = space.total_inodes > 0 && space.free_inodes < floor.inodes * WARN;
        let left = if files && space.free_bytes >= floor.bytes * WARN {
            format!("room for {} more files", space.free_inodes)
        } else {
            format!("{} of {}", Size(space.free_bytes), Size(space.total_bytes))
        };
        match self {
            Self::Roomy => String::new(),
            Self::Low => {
                let when = forecast.map_or(String::new(), |forecast| {
                    format!(", and at the present rate the disk is full in {}", hours(forecast.full_in))
                });
                format!("the disk has {left} left{when}; {FREE}")
            }
            Self::Full => format!(
                "the disk is full: {left} left; nothing is uploaded, imported, generated or recorded until \
                 there is room again; {FREE}"
            ),
        }
    }
}

fn hours(time: Duration) -> String {
    match time.as_secs() / 3600 {
        0 => "less than an hour".to_owned(),
        1 => "an hour".to_owned(),
        hours @ 2..48 => format!("{hours} hours"),
        hours => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::fixture::{GIB, space};

    fn in_hours(hours: u64) -> Forecast {
        Forecast { full_in: Duration::from_secs(hours * 3600), bytes_per_day: GIB }
    }

    #[test]
    fn levels_follow_from_what_is_left_and_how_it_goes_on() {
        for (name, space, forecast, expected) in [
            ("half full", space(50 * GIB, 500_000), None, Level::Roomy),
            ("half full, filling fast", space(50 * GIB, 500_000), Some(in_hours(3)), Level::Roomy),
            ("a fifth left, filling slowly", space(20 * GIB, 500_000), Some(in_hours(100)), Level::Roomy),
            ("a fifth left, filling fast", space(20 * GIB, 500_000), Some(in_hours(3)), Level::Low),
            ("near the floor", space(4 * GIB - 1, 500_000), None, Level::Low),
            ("below the floor", space(2 * GIB - 1, 500_000), None, Level::Full),
            ("few inodes", space(50 * GIB, 249_999), None, Level::Low),
            ("hardly any inodes", space(50 * GIB, 124_999), None, Level::Full),
            ("inodes not counted", Space { total_inodes: 0, ..space(50 * GIB, 0) }, None, Level::Roomy),
        ] {
            assert_eq!(Level::of(&space, forecast.as_ref()), expected, "{name}");
        }
    }

    #[test]
    fn words_say_what_is_left_and_what_to_do() {
        let low = space(3 * GIB, 500_000);
        let words = Level::Low.words(&low, Some(&in_hours(5)));
        assert!(
            words.starts_with("the disk has 3.0 GiB of 100 GiB left, and at the present rate"),
            "{words}"
        );
        assert!(words.contains("full in 5 hours; free some in the portal"), "{words}");
        let full = space(50 * GIB, 10);
        let words = Level::Full.words(&full, None);
        assert!(words.starts_with("the disk is full: room for 10 more files left"), "{words}");
        assert_eq!(Level::Roomy.words(&low, None), "");
    }
}
