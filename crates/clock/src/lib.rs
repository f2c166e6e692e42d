//! Whether the wall clock is to be believed, and what it may be set to.
//!
//! A box without a battery for its clock starts at the last moment it knows of. Until somebody who
//! knows better has set it, nothing that is kept may be judged by it.

use std::path::{Path, PathBuf};

/// When this program was built; no clock of an appliance is earlier.
const BUILT: &str = env!("BOOSTER_BUILD_EPOCH");
/// No build is still in use after so long; a clock beyond that is wrong.
const LONGEST_USE_S: i64 = 20 * 366 * 86_400;

/// Who the clock is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A time server has set it since the start.
    Ntp,
    /// The owner has set it since the start.
    Owner,
    /// The machine's own clock kept it while it was off; so does the host of a tree that is no appliance.
    Rtc,
    /// Nobody: it went on from the last moment that was known.
    Unknown,
}

impl Source {
    /// Whether what is kept may be judged by the clock.
    pub const fn is_believed(self) -> bool {
        !matches!(self, Self::Unknown)
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ntp => "ntp",
            Self::Owner => "owner",
            Self::Rtc => "rtc",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a time is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Before this version was made.
    #[error("This time lies before this version of ActionBooster was made.")]
    Early,
    /// In no use of it.
    #[error("This time lies more than 20 years ahead of this version of ActionBooster.")]
    Late,
}

/// When this program was built, in seconds since 1970.
pub fn built_s() -> i64 {
    BUILT.parse().unwrap_or_default()
}

/// Whether the clock may be set to this, in seconds since 1970.
pub fn check(unix_s: i64) -> Result<(), TimeError> {
    match unix_s.saturating_sub(built_s()) {
        ..0 => Err(TimeError::Early),
        LONGEST_USE_S.. => Err(TimeError::Late),
        _ => Ok(()),
    }
}

/// The file with the word for who has set the clock since the start, below `/run/actionbooster`. The
/// provisioner writes it; a tree without it is no appliance, and its host keeps the clock.
pub fn mark(runtime: &Path) -> PathBuf {
    runtime.join("clock")
}

/// The file that systemd-timesyncd makes when a time server has set the clock. It goes when that
/// service is stopped, so the mark remembers it.
pub fn synchronised(runtime: &Path) -> bool {
    runtime.parent().is_some_and(|run| run.join("systemd/timesync/synchronized").exists())
}

/// Who the clock is from, by the files below `/run/actionbooster` and beside it.
pub fn source(runtime: &Path) -> Source {
    if synchronised(runtime) {
        return Source::Ntp;
    }
    let word = std::fs::read_to_string(mark(runtime)).unwrap_or_default();
    let all = [Source::Ntp, Source::Owner, Source::Unknown];
    all.into_iter().find(|source| source.word() == word.trim()).unwrap_or(Source::Rtc)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_times_of_this_versions_life_are_taken() {
        let day = 86_400;
        let cases = [
            (0, Err(TimeError::Early)),
            (built_s() - 1, Err(TimeError::Early)),
            (built_s(), Ok(())),
            (built_s() + 19 * 366 * day, Ok(())),
            (built_s() + LONGEST_USE_S, Err(TimeError::Late)),
            (i64::MAX, Err(TimeError::Late)),
        ];
        for (time, expected) in cases {
            assert_eq!(check(time), expected, "{time}");
        }
    }

    #[test]
    fn the_clock_is_believed_once_somebody_who_knows_has_set_it() {
        let run = tempfile::tempdir().unwrap();
        let runtime = run.path().join("actionbooster");
        std::fs::create_dir(&runtime).unwrap();
        assert_eq!(source(&runtime), Source::Rtc, "no appliance");
        for marked in [Source::Unknown, Source::Rtc, Source::Owner, Source::Ntp] {
            std::fs::write(mark(&runtime), format!("{}\n", marked.word())).unwrap();
            assert_eq!(source(&runtime), marked);
            assert_eq!(marked.is_believed(), marked != Source::Unknown);
        }
        std::fs::write(mark(&runtime), "unknown").unwrap();
        std::fs::create_dir_all(run.path().join("systemd/timesync")).unwrap();
        std::fs::write(run.path().join("systemd/timesync/synchronized"), "").unwrap();
        assert_eq!(source(&runtime), Source::Ntp);
    }
}
