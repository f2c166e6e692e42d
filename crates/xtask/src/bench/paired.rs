//! Two sides measured right after each other, many times: the ratio of a pair is what the machine's mood does not
//! change, and the median of many ratios is what single accidents do not change.

use std::fmt::Write as _;

use anyhow::Result;

use super::load::Watch;
use crate::progress::step;

/// What a value, or a ratio of ours to the peer's, should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// Whether a goal is met, as far as this machine lets one see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval lies on the right side of the goal.
    Holds,
    /// The whole interval lies on the wrong side.
    Missed,
    /// The goal lies within the interval, or too much was disturbed.
    Inconclusive,
}

impl Goal {
    pub const fn number(self) -> f64 {
        match self {
            Self::AtMost(number) | Self::AtLeast(number) => number,
        }
    }

    /// Of a value that lies between these with a certainty of 95 %.
    pub fn verdict(self, low: f64, high: f64) -> Verdict {
        let (holds, missed) = match self {
            Self::AtMost(goal) => (high <= goal, low > goal),
            Self::AtLeast(goal) => (low >= goal, high < goal),
        };
        match (holds, missed) {
            (true, _) => Verdict::Holds,
            (_, true) => Verdict::Missed,
            _ => Verdict::Inconclusive,
        }
    }
}

/// The median of several measurements of one thing, and where it lies with a certainty of at least 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// Of at least one value. Fewer than six give no such certainty; the interval is then all that can be.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        let (low, high) = match outside(sorted.len()) {
            Some(outside) => (sorted[outside], sorted[sorted.len() - 1 - outside]),
            None => (f64::NEG_INFINITY, f64::INFINITY),
        };
        Self { median, low, high }
    }
}

/// How many of `count` values at each end may be left out so that the median of what they were drawn from still lies
/// between the others in 95 of 100 cases: each value is above it or below with equal chances, so the number below is
/// binomial (the interval of the sign test).
fn outside(count: usize) -> Option<usize> {
    let mut term = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut tail = 0.0;
    let mut outside = None;
    for below in 0..count {
        tail += term;
        if tail > 0.025 {
            break;
        }
        outside = Some(below);
        term *= (count - below) as f64 / (below + 1) as f64;
    }
    outside
}

/// Pairs of measurements, ours and the peer's.
#[derive(Debug, Default)]
pub struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    pub fn push(&mut self, ours: f64, peer: f64) {
        self.0.push((ours, peer));
    }

    pub fn ratio(&self) -> Estimate {
        Estimate::of(&self.0.iter().map(|(ours, peer)| ours / peer).collect::<Vec<_>>())
    }

    /// The medians of both sides.
    pub fn sides(&self) -> (f64, f64) {
        let (ours, peer): (Vec<f64>, Vec<f64>) = self.0.iter().copied().unzip();
        (Estimate::of(&ours).median, Estimate::of(&peer).median)
    }

    /// Whether more pairs would change nothing.
    pub fn is_clear(&self, goal: Option<Goal>) -> bool {
        let ratio = self.ratio();
        goal.is_none_or(|goal| goal.verdict(ratio.low, ratio.high) != Verdict::Inconclusive)
    }
}

/// How often to measure: so often at least, and so often at most while the verdict is not clear.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    pub least: usize,
    pub most: usize,
}

/// Measures until it is clear. `once` gets the number of the round, `take` its outcome, and says whether that is
/// enough.
///
/// A round beside which other programs, or other machines on the same host, took more than a little of the
/// processors is measured again, in all as often as there are rounds; after that it has to do.
pub fn measure<T>(
    label: &str,
    rounds: Rounds,
    mut once: impl FnMut(usize) -> Result<T>,
    mut take: impl FnMut(T) -> bool,
) -> Result<()> {
    step(label, || {
        let (mut taken, mut repeated, mut forced) = (0, 0, 0);
        while taken < rounds.most {
            let watch = Watch::begin()?;
            let outcome = once(taken)?;
            let others = watch.others()?;
            if others.disturb() {
                if repeated < rounds.most {
                    repeated += 1;
                    continue;
                }
                forced += 1;
            }
            taken += 1;
            if take(outcome) && taken >= rounds.least {
                break;
            }
        }
        let mut told = format!("  {taken} rounds");
        if repeated > 0 {
            let _ = write!(told, ", {repeated} more were disturbed and measured again");
        }
        if forced > 0 {
            let _ = write!(told, "; {forced} of those that count were disturbed too");
        }
        eprintln!("{told}");
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_sign_test() {
        // Tables of the sign test at 5 %: Conover, Practical Nonparametric Statistics.
        for (count, expected) in
            [(5, None), (6, Some(0)), (8, Some(0)), (9, Some(1)), (12, Some(2)), (20, Some(5)), (25, Some(7))]
        {
            assert_eq!(outside(count), expected, "{count}");
        }
        let nine = Estimate::of(&[9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(nine, Estimate { median: 5.0, low: 2.0, high: 8.0 });
        assert!(Estimate::of(&[1.0, 2.0]).low.is_infinite());
    }

    #[test]
    fn a_goal_within_the_interval_is_neither_held_nor_missed() {
        for (goal, low, high, expected) in [
            (Goal::AtMost(1.0), 0.8, 0.9, Verdict::Holds),
            (Goal::AtMost(1.0), 0.9, 1.1, Verdict::Inconclusive),
            (Goal::AtMost(1.0), 1.1, 1.2, Verdict::Missed),
            (Goal::AtLeast(1.0), 1.0, 1.2, Verdict::Holds),
            (Goal::AtLeast(1.0), 0.9, 1.2, Verdict::Inconclusive),
            (Goal::AtLeast(1.0), 0.8, 0.9, Verdict::Missed),
            (Goal::AtMost(1.0), f64::NEG_INFINITY, f64::INFINITY, Verdict::Inconclusive),
        ] {
            assert_eq!(goal.verdict(low, high), expected, "{goal:?} {low} {high}");
        }
    }

    #[test]
    fn one_accident_changes_no_verdict() {
        let mut pairs = Pairs::default();
        for number in 0..12 {
            // The machine slows down, which both sides feel; once something hits ours alone.
            let slow = 1.0 + f64::from(number) / 4.0;
            pairs.push(slow * if number == 5 { 9.0 } else { 0.9 }, slow);
        }
        let ratio = pairs.ratio();
        assert!((ratio.median - 0.9).abs() < 1e-9 && ratio.high < 1.0, "{ratio:?}");
        assert!(pairs.is_clear(Some(Goal::AtMost(1.0))));
    }

    #[test]
    fn rounds_go_on_until_it_is_clear() {
        let mut seen = Vec::new();
        let rounds = Rounds { least: 3, most: 8 };
        measure("rounds", rounds, Ok, |round| {
            seen.push(round);
            round >= 4
        })
        .expect("measured");
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        let mut count = 0;
        measure("rounds", rounds, Ok, |_| {
            count += 1;
            false
        })
        .expect("measured");
        assert_eq!(count, 8);
    }
}
