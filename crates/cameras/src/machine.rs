//! When something that is seen becomes a session: IDLE -> DWELL -> ACTIVE -> CLOSING.
//!
//! Pure: the time enters as a [`Duration`] since any start, and what follows comes out as [`Effect`]s.

use std::time::Duration;

use serde::Serialize;

/// Results of a slow detector may lie this far apart and still go on without a gap.
const SLOWEST: Duration = Duration::from_secs(2);

/// What the machine goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Detections must go on this long before a session starts.
    pub dwell: Duration,
    /// Frames without detections over more than this end a dwell.
    pub gap: Duration,
    /// A session closes after this long without detections.
    pub silence: Duration,
    /// A closing session ends after this.
    pub post_roll: Duration,
    /// Frames a second for the detector while no session is open.
    pub fps_idle: u32,
    /// Frames a second for the detector within a session.
    pub fps_active: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dwell: Duration::from_secs(1),
            gap: Duration::from_millis(500),
            silence: Duration::from_secs(5),
            post_roll: Duration::from_secs(3),
            fps_idle: 5,
            fps_active: 12,
        }
    }
}

/// Where a camera stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is seen.
    Idle,
    /// Something is seen, not yet for long enough.
    Dwell,
    /// A session is open and something was seen lately.
    Active,
    /// A session is open and nothing was seen for a while.
    Closing,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Nothing was seen any more.
    Silence,
    /// The camera was switched off, changed, or the program ends.
    Stopped,
}

/// What follows from an observation or from time that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A session starts.
    SessionStarted {
        /// Now.
        at: Duration,
        /// When the detections began that led to it.
        since: Duration,
    },
    /// The session ends.
    SessionEnded {
        /// When it was due to end, which may lie before now.
        at: Duration,
        /// When something was seen last.
        last_seen: Duration,
        /// Why.
        reason: EndReason,
    },
}

/// The machine of one camera.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    phase: Phase,
    now: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Idle,
    /// `missed`: a frame without detections came since `last`.
    Dwell {
        since: Duration,
        last: Duration,
        missed: bool,
    },
    /// CLOSING follows from the time since `last`.
    Open {
        last: Duration,
    },
}

impl Machine {
    /// Begins idle.
    pub const fn new(settings: Settings) -> Self {
        Self { settings, phase: Phase::Idle, now: Duration::ZERO }
    }

    /// Tells the detections of one frame: whether there were any.
    pub fn observe(&mut self, now: Duration, seen: bool) -> Vec<Effect> {
        let mut effects = self.tick(now);
        let now = self.now;
        self.phase = match self.phase {
            Phase::Idle if seen => Phase::Dwell { since: now, last: now, missed: false },
            Phase::Dwell { last, missed: true, .. }
                if seen && now.saturating_sub(last) > self.settings.gap =>
            {
                Phase::Dwell { since: now, last: now, missed: false }
            }
            Phase::Dwell { since, .. } if seen => Phase::Dwell { since, last: now, missed: false },
            Phase::Dwell { last, .. } if now.saturating_sub(last) > self.settings.gap => Phase::Idle,
            Phase::Dwell { since, last, .. } => Phase::Dwell { since, last, missed: true },
            Phase::Open { .. } if seen => Phase::Open { last: now },
            unchanged => unchanged,
        };
        if let Phase::Dwell { since, last, .. } = self.phase
            && seen
            && last.saturating_sub(since) >= self.settings.dwell
        {
            self.phase = Phase::Open { last };
            effects.push(Effect::SessionStarted { at: now, since });
        }
        effects
    }

    /// Lets time pass. A clock that goes backwards stands still here.
    pub fn tick(&mut self, now: Duration) -> Vec<Effect> {
        self.now = self.now.max(now);
        match self.phase {
            Phase::Dwell { last, .. } if self.now.saturating_sub(last) > SLOWEST.max(self.settings.gap) => {
                self.phase = Phase::Idle;
                Vec::new()
            }
            Phase::Open { last } if self.now >= self.due(last) => {
                self.phase = Phase::Idle;
                vec![Effect::SessionEnded { at: self.due(last), last_seen: last, reason: EndReason::Silence }]
            }
            _ => Vec::new(),
        }
    }

    /// Ends what is open.
    pub fn stop(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = self.tick(now);
        if let Phase::Open { last } = self.phase {
            let reason = EndReason::Stopped;
            effects.push(Effect::SessionEnded { at: self.now, last_seen: last, reason });
        }
        self.phase = Phase::Idle;
        effects
    }

    /// Where it stands, as of the last call that told the time.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Idle => State::Idle,
            Phase::Dwell { .. } => State::Dwell,
            Phase::Open { last } if self.now.saturating_sub(last) < self.settings.silence => State::Active,
            Phase::Open { .. } => State::Closing,
        }
    }

    /// Frames a second that the detector is to see.
    pub fn fps(&self) -> u32 {
        match self.phase {
            Phase::Open { .. } => self.settings.fps_active,
            Phase::Idle | Phase::Dwell { .. } => self.settings.fps_idle,
        }
    }

    /// When a session ends in which something was seen last at `last`.
    fn due(&self, last: Duration) -> Duration {
        last.saturating_add(self.settings.silence).saturating_add(self.settings.post_roll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time in milliseconds, and whether something was seen; only time passes when that is not told.
    type Step = (u64, Option<bool>);

    const YES: Option<bool> = Some(true);
    const NO: Option<bool> = Some(false);
    const TICK: Option<bool> = None;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn started(at: u64, since: u64) -> Effect {
        Effect::SessionStarted { at: ms(at), since: ms(since) }
    }

    fn ended(at: u64, last_seen: u64) -> Effect {
        Effect::SessionEnded { at: ms(at), last_seen: ms(last_seen), reason: EndReason::Silence }
    }

    /// Detections that open a session at 1000 ms, seen last then.
    fn open() -> Vec<Step> {
        vec![(0, YES), (500, YES), (1000, YES)]
    }

    fn open_then(more: &[Step]) -> Vec<Step> {
        let mut steps = open();
        steps.extend_from_slice(more);
        steps
    }

    #[test]
    fn every_transition_happens_at_its_time_and_not_before() {
        use State::{Active, Closing, Dwell, Idle};
        let open_at = started(1000, 0);
        let cases: [(&str, Vec<Step>, State, Vec<Effect>); 26] = [
            ("nothing happened", vec![], Idle, vec![]),
            ("nothing is seen", vec![(0, NO), (9000, NO), (10_000, TICK)], Idle, vec![]),
            ("something is seen", vec![(0, YES)], Dwell, vec![]),
            ("just not long enough", vec![(0, YES), (500, YES), (999, YES)], Dwell, vec![]),
            ("exactly long enough", open(), Active, vec![open_at]),
            ("time alone starts nothing", vec![(0, YES), (400, YES), (1500, TICK)], Dwell, vec![]),
            ("an empty frame starts nothing", vec![(0, YES), (600, YES), (1000, NO)], Dwell, vec![]),
            ("a gap at the limit", vec![(0, YES), (250, NO), (500, YES), (1000, YES)], Active, vec![open_at]),
            ("empty frames up to the limit", vec![(0, YES), (500, NO)], Dwell, vec![]),
            ("empty frames beyond it", vec![(0, YES), (501, NO)], Idle, vec![]),
            (
                "a gap beyond the limit begins again",
                vec![(0, YES), (250, NO), (501, YES), (1400, YES)],
                Dwell,
                vec![],
            ),
            (
                "a slow detector has no gaps",
                vec![(0, YES), (900, YES), (1800, YES)],
                Active,
                vec![started(1800, 0)],
            ),
            ("but nothing at all is one", vec![(0, YES), (2001, TICK)], Idle, vec![]),
            ("also seen from its end", vec![(0, YES), (2001, YES)], Dwell, vec![]),
            ("active until silence", open_then(&[(5999, TICK)]), Active, vec![open_at]),
            ("closing at silence", open_then(&[(6000, TICK)]), Closing, vec![open_at]),
            ("empty frames are silence too", open_then(&[(3000, NO), (6000, NO)]), Closing, vec![open_at]),
            ("a detection goes on", open_then(&[(3000, YES), (6000, TICK)]), Active, vec![open_at]),
            ("a detection while closing goes back", open_then(&[(8999, YES)]), Active, vec![open_at]),
            ("closing until the post-roll is over", open_then(&[(8999, TICK)]), Closing, vec![open_at]),
            ("then it ends", open_then(&[(9000, TICK)]), Idle, vec![open_at, ended(9000, 1000)]),
            (
                "a detection at the end comes too late",
                open_then(&[(9000, YES)]),
                Dwell,
                vec![open_at, ended(9000, 1000)],
            ),
            (
                "a long gap between ticks ends it when it was due",
                open_then(&[(60_000, TICK)]),
                Idle,
                vec![open_at, ended(9000, 1000)],
            ),
            (
                "and another follows",
                open_then(&[(60_000, YES), (60_500, YES), (61_000, YES)]),
                Active,
                vec![open_at, ended(9000, 1000), started(61_000, 60_000)],
            ),
            ("a clock that stands still", vec![(7, YES); 50], Dwell, vec![]),
            ("a clock that goes backwards", open_then(&[(400, YES), (0, NO)]), Active, vec![open_at]),
        ];
        for (name, steps, state, effects) in cases {
            let mut machine = Machine::new(Settings::default());
            let mut told = Vec::new();
            for (at, step) in steps {
                told.extend(match step {
                    Some(seen) => machine.observe(ms(at), seen),
                    None => machine.tick(ms(at)),
                });
            }
            assert_eq!(machine.state(), state, "{name}");
            assert_eq!(told, effects, "{name}");
            let fps = if matches!(state, Active | Closing) { 12 } else { 5 };
            assert_eq!(machine.fps(), fps, "{name}");
        }
    }

    #[test]
    fn without_dwell_one_detection_is_a_session() {
        let settings = Settings { dwell: Duration::ZERO, ..Settings::default() };
        let mut machine = Machine::new(settings);
        assert_eq!(machine.observe(ms(40), true), [started(40, 40)]);
        assert_eq!(machine.observe(ms(9000), true), [ended(8040, 40), started(9000, 9000)]);
    }

    #[test]
    fn without_post_roll_silence_ends_it() {
        let settings = Settings { dwell: Duration::ZERO, post_roll: Duration::ZERO, ..Settings::default() };
        let mut machine = Machine::new(settings);
        machine.observe(ms(0), true);
        assert_eq!(machine.tick(ms(4999)), []);
        assert_eq!(machine.tick(ms(5000)), [ended(5000, 0)]);
    }

    #[test]
    fn stopping_ends_an_open_session_once_and_nothing_else() {
        let mut machine = Machine::new(Settings::default());
        assert_eq!(machine.stop(ms(0)), []);
        machine.observe(ms(10), true);
        assert_eq!(machine.stop(ms(20)), [], "a dwell is no session");
        for at in [1000, 1500, 2000] {
            machine.observe(ms(at), true);
        }
        let effect = Effect::SessionEnded { at: ms(2500), last_seen: ms(2000), reason: EndReason::Stopped };
        assert_eq!(machine.stop(ms(2500)), [effect]);
        assert_eq!(machine.stop(ms(2600)), []);
        assert_eq!(machine.state(), State::Idle);
    }
}
