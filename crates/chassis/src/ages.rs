//! How old things are, whatever the clock says.
//!
//! A box without a battery dates things in the past, and one day learns the time: judged by their dates
//! alone, all of them would then be years old and removed. So their age is counted: by the steady clock while
//! a daemon runs, and between its runs by the wall's clock as far as that can be believed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actionbooster_clock::{Source, source};
use actionbooster_storage::atomic;
use serde::{Deserialize, Serialize};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// A box that says it was off for longer is believed only when it has been told the time.
const LONGEST_OFF: i64 = 30 * DAY;
/// The wall's clock was set if it moved by so many seconds more or less than the steady one.
const JUMP: i64 = 60;

/// The ages of what is in one place, kept in a file.
#[derive(Debug)]
pub struct Ages {
    file: PathBuf,
    runtime: PathBuf,
    ledger: Ledger,
    /// The file was there, so that what is not in it is new.
    is_known: bool,
    last: Option<ClockReading>,
    /// When the wall's clock was set, on the ledger's clock.
    jumped: Option<i64>,
    written: Option<i64>,
}

/// What the file holds. Its clock counts seconds since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ledger {
    passed: i64,
    /// The wall's clock at that moment.
    noted: i64,
    /// Both clocks when the box last knew the time.
    told: Option<(i64, i64)>,
    /// Since when each thing is there; before zero for what is older than the ledger.
    since: BTreeMap<String, i64>,
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
struct ClockReading {
    steady: Instant,
    wall: i64,
    is_told: bool,
}

/// One look at everything in the place.
#[derive(Debug)]
pub struct Look<'a> {
    ages: &'a mut Ages,
    wall: i64,
    /// What was not there at the last look is this old at most, in seconds.
    newest: i64,
    seen: BTreeMap<String, i64>,
}

impl Ages {
    /// Reads the ages; a file that is missing or damaged is begun anew. `runtime` is `/run/actionbooster`.
    pub fn open(file: PathBuf, runtime: PathBuf) -> Self {
        let read = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Ledger>(&text).ok());
        Self {
            file,
            runtime,
            is_known: read.is_some(),
            ledger: read.unwrap_or_default(),
            last: None,
            jumped: None,
            written: None,
        }
    }

    /// Begins a look at everything.
    pub fn look(&mut self) -> Look<'_> {
        let wall = seconds(SystemTime::now());
        let is_told = matches!(source(&self.runtime), Source::Ntp | Source::Owner);
        self.look_at(ClockReading { steady: Instant::now(), wall, is_told })
    }

    fn look_at(&mut self, now: ClockReading) -> Look<'_> {
        let before = self.ledger.passed;
        self.ledger.passed += match self.last {
            Some(last) => self.since_last(&last, &now),
            None => self.since_noted(&now),
        };
        let was_told = self.last.is_some_and(|last| last.is_told);
        if now.is_told
            && !was_told
            && let Some((passed, wall)) = self.ledger.told
        {
            // Whatever the clock said in between, so much is true.
            self.ledger.passed = self.ledger.passed.max(passed + now.wall - wall);
        }
        let passed = self.ledger.passed;
        let is_calm = self.jumped.is_none_or(|jumped| passed - jumped > DAY);
        if now.is_told && is_calm {
            self.ledger.told = Some((passed, now.wall));
        }
        self.ledger.noted = now.wall;
        self.last = Some(now);
        let newest = if self.is_known {
            passed - before
        } else if now.is_told {
            i64::MAX
        } else {
            0
        };
        self.is_known = true;
        Look { ages: self, wall: now.wall, newest, seen: BTreeMap::new() }
    }

    /// How long the daemon did not run, as far as that can be believed.
    fn since_noted(&self, now: &ClockReading) -> i64 {
        let off = now.wall - self.ledger.noted;
        if self.is_known && (0..=LONGEST_OFF).contains(&off) { off } else { 0 }
    }

    fn since_last(&mut self, last: &ClockReading, now: &ClockReading) -> i64 {
        let steady = now.steady.saturating_duration_since(last.steady).as_secs();
        let steady = i64::try_from(steady).unwrap_or(i64::MAX);
        if (now.wall - last.wall).abs_diff(steady) > JUMP.unsigned_abs() {
            tracing::info!(seconds = now.wall - last.wall - steady, "the clock was set");
            self.jumped = Some(self.ledger.passed + steady);
            // The step that comes with being told is what the old moment is needed for.
            if last.is_told {
                self.ledger.told = None;
            }
        }
        steady
    }
}

impl Look<'_> {
    /// How long a thing has been there. The date that it bears counts for what is new here only, and only
    /// as far as it is possible.
    pub fn age(&mut self, name: &str, dated: SystemTime) -> Duration {
        let passed = self.ages.ledger.passed;
        let new = || passed - (self.wall - seconds(dated)).clamp(0, self.newest);
        let since = self.ages.ledger.since.get(name).copied().unwrap_or_else(new);
        self.seen.insert(name.to_owned(), since);
        Duration::from_secs(u64::try_from(passed - since).unwrap_or_default())
    }

    /// Ends the look: what was not asked for is gone. Writes where there is something to write.
    pub fn end(self) -> io::Result<()> {
        let Self { ages, seen, .. } = self;
        let passed = ages.ledger.passed;
        let is_fresh = ages.written.is_some_and(|written| passed - written < HOUR);
        if ages.ledger.since == seen && is_fresh {
            return Ok(());
        }
        ages.ledger.since = seen;
        atomic::write(&ages.file, &serde_json::to_vec(&ages.ledger)?)?;
        ages.written = Some(passed);
        Ok(())
    }
}

fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-15, and a clock without a battery.
    const TRUE: i64 = 1_800_000_000;
    const DEAD: i64 = 1_000_000_000;

    /// A box with one thing after another, looked at as time really passes.
    struct World {
        folder: tempfile::TempDir,
        ages: Ages,
        start: Instant,
        /// Seconds since the start.
        real: i64,
        /// What the wall's clock says at the start, and whether somebody told it.
        wall: i64,
        is_told: bool,
        things: Vec<(&'static str, i64)>,
    }

    impl World {
        fn new(wall: i64, is_told: bool) -> Self {
            let folder = tempfile::tempdir().expect("room");
            let ages = Ages::open(folder.path().join("ages.json"), PathBuf::new());
            let mut world =
                Self { folder, ages, start: Instant::now(), real: 0, wall, is_told, things: Vec::new() };
            world.days();
            world
        }

        /// The clock says this from now on.
        fn set(&mut self, wall: i64, is_told: bool) {
            (self.wall, self.is_told) = (wall - self.real, is_told);
        }

        fn wait(&mut self, days: i64) -> &mut Self {
            for _ in 0..days * 24 {
                self.real += HOUR;
                self.days();
            }
            self
        }

        fn record(&mut self, name: &'static str) {
            self.things.push((name, self.wall + self.real));
        }

        /// The box is off for some days, and starts with this clock.
        fn off(&mut self, days: i64, wall: i64, is_told: bool) {
            self.real += days * DAY;
            self.set(wall, is_told);
            self.ages = Ages::open(self.folder.path().join("ages.json"), PathBuf::new());
        }

        /// How many days old everything is.
        fn days(&mut self) -> Vec<u64> {
            let steady = self.start + Duration::from_secs(self.real.unsigned_abs());
            let wall = self.wall + self.real;
            let mut look = self.ages.look_at(ClockReading { steady, wall, is_told: self.is_told });
            let dated = |at: i64| UNIX_EPOCH + Duration::from_secs(at.unsigned_abs());
            let ages = self.things.iter().map(|(name, at)| look.age(name, dated(*at)).as_secs() / 86_400);
            let ages = ages.collect();
            look.end().expect("written");
            ages
        }
    }

    #[test]
    fn with_a_good_clock_things_are_as_old_as_their_dates_say() {
        let mut world = World::new(TRUE, false);
        world.record("a");
        world.wait(3).record("b");
        assert_eq!(world.wait(2).days(), [5, 2]);
        let now = world.wall + world.real;
        world.off(4, now + 4 * DAY, false);
        assert_eq!(world.days(), [9, 6]);
    }

    #[test]
    fn a_box_that_learns_the_time_after_years_without_removes_nothing() {
        let mut world = World::new(DEAD, false);
        world.record("a");
        world.wait(2).record("b");
        world.off(1, DEAD, false);
        assert_eq!(world.days(), [2, 0], "nobody knows how long it was off");
        world.wait(1).record("c");
        world.set(TRUE, true);
        assert_eq!(world.days(), [3, 1, 0], "told the time");
        assert_eq!(world.wait(5).days(), [8, 6, 5], "and then they age");
    }

    #[test]
    fn a_clock_that_runs_ahead_or_jumps_removes_nothing() {
        let mut world = World::new(TRUE, false);
        world.record("a");
        world.wait(1);
        let ahead = TRUE + 20_000 * DAY;
        world.set(ahead, false);
        assert_eq!(world.days(), [1]);
        world.off(1, ahead + DAY, false);
        world.off(0, TRUE + 3 * DAY, false);
        assert!(world.days()[0] <= 3, "{:?}", world.days());
        world.record("future");
        world.set(TRUE - 700 * DAY, false);
        assert!(world.days().iter().all(|days| *days <= 3));
    }

    #[test]
    fn a_box_that_was_off_for_long_counts_that_once_it_is_told_the_time() {
        let mut world = World::new(TRUE, true);
        world.record("a");
        world.wait(2);
        world.off(200, TRUE + 202 * DAY, false);
        assert_eq!(world.days(), [2], "that may be a clock that runs ahead");
        let now = world.wall + world.real;
        world.set(now, true);
        assert_eq!(world.days(), [202]);
    }

    #[test]
    fn a_clock_that_its_owner_sets_wrongly_does_not_count_when_it_is_set_right() {
        let mut world = World::new(TRUE, true);
        world.record("a");
        world.wait(1);
        world.set(TRUE - 700 * DAY, true);
        assert_eq!(world.days(), [1]);
        world.off(0, TRUE + DAY, true);
        assert!(world.days()[0] <= 31, "{:?}", world.days());
    }

    #[test]
    fn a_lost_ledger_makes_things_young_unless_the_time_is_certain() {
        for (is_told, days) in [(true, 9), (false, 0)] {
            let mut world = World::new(TRUE, is_told);
            world.record("a");
            world.wait(9);
            fs::write(world.folder.path().join("ages.json"), "{\"passed\"").expect("room");
            let now = world.wall + world.real;
            world.off(0, now, is_told);
            assert_eq!(world.days(), [days]);
        }
    }

    #[test]
    fn what_is_gone_is_forgotten_and_quiet_looks_write_nothing() {
        let mut world = World::new(TRUE, false);
        world.record("a");
        world.days();
        let file = world.folder.path().join("ages.json");
        let written = || fs::read_to_string(&file).expect("there");
        let first = written();
        assert!(first.contains("\"a\""));
        world.real += 60;
        world.days();
        assert_eq!(written(), first);
        world.things.clear();
        world.days();
        assert!(!written().contains("\"a\""));
    }
}
