//! Which authority signs, and which comes after it.
//!
//! An authority is followed by one with a new key, which is made long before and handed out beside
//! it, so that owners have time to trust it. Everything follows from what there is and from the
//! moment: a clock that was wrong for a while leaves nothing behind when it is right again.

use jiff::Timestamp;

use super::{Authority, Key, Root, TlsError, days_after};

/// The next authority is made so long before the end of one.
const OVERLAP_DAYS: i64 = 365;
/// It signs when the one before has so long to go: a certificate for the server must end with its authority.
const HANDOVER_DAYS: i64 = 30;
/// It is handed out so long at least before it signs. Authorities without limits go after this time.
const NOTICE_DAYS: i64 = 30;

/// The authorities that are in use.
pub struct Rotation {
    /// Signs now.
    pub signer: Authority,
    /// Signs later, and is already to be trusted.
    pub next: Option<Authority>,
    /// Kept for the case that the clock is wrong now.
    pub kept: Vec<Authority>,
}

impl Rotation {
    /// Puts the authorities that there are in order for this moment, and makes those that are missing.
    pub fn settle(found: Vec<Authority>, own_names: &[String], now: Timestamp) -> Result<Self, TlsError> {
        let make = |key| Authority::make(key, own_names, now);
        let (begun, mut coming): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|authority| authority.root().has_begun(now));
        let (mut ended, mut live): (Vec<_>, Vec<_>) =
            begun.into_iter().partition(|authority| authority.root().has_ended(now));
        live.sort_by_key(|authority| authority.root().made());
        ended.retain(|authority| authority.root().is_limited());
        coming.retain(|authority| authority.root().is_limited());
        coming.sort_by_key(|authority| authority.root().made());
        while let [first, second, ..] = &live[..]
            && handover(first.root(), second.root()) <= now
        {
            let first = live.remove(0);
            if first.root().is_limited() {
                ended.push(first);
            }
        }
        let mut live = live.into_iter();
        let signer = match live.next() {
            Some(signer) => signer,
            // Made when the clock was ahead, or the clock is behind now. With its key it stays the
            // same authority to devices that trust it already.
            None if !coming.is_empty() => make(coming.remove(0).into_key())?,
            None => make(Key::make()?)?,
        };
        let next = match live.next() {
            None if needs_successor(signer.root(), now) => Some(make(Key::make()?)?),
            next => next,
        };
        // One of each: a clock that jumps to and fro must not fill the folder.
        ended.sort_by_key(|authority| authority.root().not_after());
        let kept = ended.pop().into_iter().chain(coming.into_iter().next()).collect();
        Ok(Self { signer, next, kept })
    }
}

/// When the second of two authorities takes over.
pub fn handover(first: &Root, second: &Root) -> Timestamp {
    let told = days_after(second.made(), NOTICE_DAYS);
    let near_the_end = days_after(first.not_after(), -HANDOVER_DAYS);
    let due = if first.is_limited() { told.max(near_the_end) } else { told };
    due.min(days_after(first.not_after(), -1))
}

fn needs_successor(signer: &Root, now: Timestamp) -> bool {
    !signer.is_limited() || signer.not_after() < days_after(now, OVERLAP_DAYS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::tls::tests::{day, unlimited};

    const NAMES: [String; 0] = [];

    fn settle(found: Vec<Authority>, days: i64) -> Rotation {
        Rotation::settle(found, &NAMES, day(days)).unwrap()
    }

    fn all(rotation: Rotation) -> Vec<Authority> {
        let Rotation { signer, next, kept } = rotation;
        [signer].into_iter().chain(next).chain(kept).collect()
    }

    fn new(days: i64) -> Authority {
        Authority::make(Key::make().unwrap(), &NAMES, day(days)).unwrap()
    }

    fn print(authority: &Authority) -> String {
        authority.root().fingerprint()
    }

    #[test]
    fn one_authority_follows_another_without_a_gap() {
        let first = settle(vec![], 0);
        assert!(first.next.is_none() && first.signer.root().is_limited());
        let name = print(&first.signer);
        let early = settle(all(first), 1_460);
        assert!(print(&early.signer) == name && early.next.is_none(), "a year and a day before the end");
        let overlap = settle(all(early), 1_461);
        assert_eq!(print(&overlap.signer), name, "the old one signs in the overlap");
        let next = print(overlap.next.as_ref().unwrap());
        assert_ne!(next, name);
        let late = settle(all(overlap), 1_794);
        assert_eq!((print(&late.signer), print(late.next.as_ref().unwrap())), (name, next.clone()));
        let over = settle(all(late), 1_795);
        assert!(print(&over.signer) == next && over.next.is_none(), "thirty days before the end");
    }

    #[test]
    fn an_authority_without_limits_goes_after_a_month_and_its_key_with_it() {
        let old = unlimited(day(-100));
        let name = print(&old);
        let told = settle(vec![old], 0);
        assert_eq!(print(&told.signer), name);
        let next = print(told.next.as_ref().unwrap());
        let later = settle(all(told), 29);
        assert_eq!(print(&later.signer), name);
        let gone = settle(all(later), 30);
        assert_eq!(print(&gone.signer), next);
        assert!(gone.next.is_none() && gone.kept.is_empty());
        let ended = settle(vec![unlimited(day(-5_000))], 0);
        assert!(ended.signer.root().is_limited() && ended.kept.is_empty(), "one that has ended goes at once");
    }

    #[test]
    fn a_box_that_was_off_hands_the_next_one_out_before_it_signs() {
        let late = settle(vec![new(-1_790)], 0);
        assert_eq!(handover(late.signer.root(), late.next.as_ref().unwrap().root()), day(30));
        let later = settle(vec![new(-1_810)], 0);
        assert_eq!(handover(later.signer.root(), later.next.as_ref().unwrap().root()), day(14));
        let over = settle(vec![new(-2_000)], 0);
        assert!(over.next.is_none() && over.signer.root().made() == day(0));
    }

    #[test]
    fn a_clock_that_was_wrong_leaves_the_same_authority() {
        for wrong in [-1_000, -400, 1_000, 1_700, 4_000, 20_000] {
            let before = settle(vec![], 0);
            let name = print(&before.signer);
            let key = before.signer.root().name().to_owned();
            let during = settle(all(before), wrong);
            let after = settle(all(during), 1);
            assert_eq!(after.signer.root().name(), key, "{wrong} days off");
            assert!(wrong < 0 || print(&after.signer) == name, "{wrong} days off");
            assert!(after.next.is_none() && after.kept.len() <= 1, "{wrong} days off");
        }
    }

    #[test]
    fn an_authority_of_a_clock_that_ran_ahead_is_made_again_with_its_key() {
        let ahead = new(3_000);
        let key = ahead.root().name().to_owned();
        let right = settle(vec![ahead], 0);
        assert_eq!(right.signer.root().name(), key);
        assert!(right.signer.root().has_begun(day(0)) && right.kept.is_empty());
    }
}
