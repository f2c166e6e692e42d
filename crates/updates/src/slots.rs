//! What GRUB's environment says of the slots, and what follows.
//!
//! | variable | meaning | written by |
//! |---|---|---|
//! | `ORDER` | which slot is asked first, such as `A B` | RAUC, when a version is activated |
//! | `A_OK` | 1: something is installed that may start | RAUC |
//! | `A_TRY` | starts since it last worked | GRUB, before each start; 0 by RAUC and by [`Slots::mark_good`] |
//! | `A_PROVEN` | 1: what is installed has worked once | [`Slots::mark_good`]; taken away by [`Slots::release`] |

use serde::{Deserialize, Serialize};

use crate::{Block, Damage, Slot};

/// Starts that a slot gets which has never worked, before the other one is taken.
pub const TRIAL_TRIES: u32 = 3;
/// Starts that a slot gets which has worked before: so many times the power may be cut while it starts.
pub const PROVEN_TRIES: u32 = 12;

const ORDER: &str = "ORDER";
/// A count that is no number: no try is left.
const UNREADABLE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    bootable: bool,
    proven: bool,
    tries: u32,
}

impl Entry {
    fn limit(self) -> u32 {
        if self.proven { PROVEN_TRIES } else { TRIAL_TRIES }
    }

    fn tries_left(self) -> u32 {
        self.limit().saturating_sub(self.tries)
    }

    /// Counts a start; where no try was left, another round begins.
    fn start(&mut self) {
        self.tries = if self.tries_left() > 0 { self.tries + 1 } else { 1 };
    }
}

/// What is known of both slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    order: [Slot; 2],
    a: Entry,
    b: Entry,
}

/// How far a slot is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    /// It has worked.
    Proven {
        /// Starts that it has before the other one is taken.
        tries_left: u32,
    },
    /// It has not worked yet.
    OnTrial {
        /// Starts that it has before the other one is taken.
        tries_left: u32,
    },
    /// Nothing is installed that may start.
    Unbootable,
}

/// A slot, and how far it is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotState {
    /// The slot.
    pub slot: Slot,
    /// How far it is trusted.
    #[serde(flatten)]
    pub standing: Standing,
}

/// What to do when the running slot does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterFailure {
    /// Start again: that uses up its tries, and then the other one has its turn.
    Restart,
    /// Go on: it worked before, so starting again leads to the same.
    StayProven,
    /// Go on: the other slot cannot take over.
    StayAlone,
    /// Go on: GRUB did not count this start, so starting again would never end.
    StayUncounted,
}

impl Slots {
    /// Reads the variables. A missing one says no.
    pub fn of(block: &Block) -> Result<Self, Damage> {
        let order = block.get(ORDER).unwrap_or_default();
        let names: Option<Vec<Slot>> = order.split(' ').map(Slot::parse).collect();
        let order = match names.as_deref() {
            Some([first, second]) if first != second => [*first, *second],
            _ => return Err(Damage::Order(order.to_owned())),
        };
        let entry = |slot| {
            let is = |field: &str| block.get(&name(slot, field)) == Some("1");
            let tries = block.get(&name(slot, "TRY")).unwrap_or("0");
            Entry { bootable: is("OK"), proven: is("PROVEN"), tries: count(tries) }
        };
        Ok(Self { order, a: entry(Slot::A), b: entry(Slot::B) })
    }

    /// Writes the variables and leaves all others alone.
    pub fn write(&self, block: &mut Block) {
        block.set(ORDER, &self.order.map(Slot::name).join(" "));
        for slot in Slot::ALL {
            let entry = self.entry(slot);
            block.set(&name(slot, "OK"), if entry.bootable { "1" } else { "0" });
            block.set(&name(slot, "TRY"), &entry.tries.to_string());
            if entry.proven {
                block.set(&name(slot, "PROVEN"), "1");
            } else {
                block.unset(&name(slot, "PROVEN"));
            }
        }
    }

    /// What is known for certain when everything is lost: one slot runs, and the other has a system or
    /// not.
    pub fn from_running(running: Slot, other_is_installed: bool) -> Self {
        let entry = |bootable| Entry { bootable, proven: false, tries: 0 };
        let of = |slot| entry(slot == running || other_is_installed);
        Self { order: [running, running.other()], a: of(Slot::A), b: of(Slot::B) }
    }

    /// The running slot works.
    pub fn mark_good(&mut self, running: Slot) {
        *self.entry_mut(running) = Entry { bootable: true, proven: true, tries: 0 };
    }

    /// Something else is about to be written into a slot: whatever was known of it no longer holds.
    pub fn release(&mut self, slot: Slot) {
        *self.entry_mut(slot) = Entry { bootable: false, proven: false, tries: 0 };
    }

    /// What GRUB does at every start: choose a slot and count the try.
    pub fn start(&mut self) -> Slot {
        let slot = self.next();
        if self.entry(slot).bootable {
            self.entry_mut(slot).start();
        }
        slot
    }

    /// What GRUB does when the kernel of the slot it chose cannot be read: the other one has its turn
    /// at once, if it has a system.
    pub fn take_over(&mut self, unreadable: Slot) -> Option<Slot> {
        let other = unreadable.other();
        self.entry(other).bootable.then(|| {
            self.entry_mut(other).start();
            other
        })
    }

    /// The slot that is started next.
    pub fn next(&self) -> Slot {
        let bootable = || self.order.into_iter().filter(|slot| self.entry(*slot).bootable);
        let with_tries = bootable().find(|slot| self.entry(*slot).tries_left() > 0);
        // No slot has a try left. A system that may fail is better than none: the best known one
        // gets another round.
        let best = || bootable().find(|slot| self.entry(*slot).proven);
        with_tries.or_else(best).or_else(|| bootable().next()).unwrap_or(self.order[0])
    }

    /// What to do when the running slot does not work.
    pub fn after_failure(&self, running: Slot) -> AfterFailure {
        let (entry, other) = (self.entry(running), self.entry(running.other()));
        if entry.proven {
            AfterFailure::StayProven
        } else if !other.bootable || (other.tries_left() == 0 && !other.proven) {
            AfterFailure::StayAlone
        } else if entry.tries == 0 {
            AfterFailure::StayUncounted
        } else {
            AfterFailure::Restart
        }
    }

    /// Whether something is installed that may start.
    pub fn is_bootable(&self, slot: Slot) -> bool {
        self.entry(slot).bootable
    }

    /// Both slots in the order in which GRUB asks them.
    pub fn states(&self) -> [SlotState; 2] {
        self.order.map(|slot| {
            let entry = self.entry(slot);
            let tries_left = entry.tries_left();
            let standing = match entry {
                Entry { bootable: false, .. } => Standing::Unbootable,
                Entry { proven: true, .. } => Standing::Proven { tries_left },
                Entry { .. } => Standing::OnTrial { tries_left },
            };
            SlotState { slot, standing }
        })
    }

    fn entry(&self, slot: Slot) -> Entry {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }
}

fn name(slot: Slot, field: &str) -> String {
    format!("{slot}_{field}")
}

/// GRUB compares texts, so only a number's own form is that number.
fn count(text: &str) -> u32 {
    text.parse().ok().filter(|number: &u32| number.to_string() == text).unwrap_or(UNREADABLE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Slots as `ORDER`, then tries of each: `3` on trial, `3p` proven, `-` not bootable.
    fn slots(order: &str, a: &str, b: &str) -> Slots {
        let mut block = Block::default();
        block.set(ORDER, order);
        for (slot, text) in [(Slot::A, a), (Slot::B, b)] {
            block.set(&name(slot, "OK"), if text == "-" { "0" } else { "1" });
            block.set(&name(slot, "TRY"), text.trim_end_matches('p'));
            if text.ends_with('p') {
                block.set(&name(slot, "PROVEN"), "1");
            }
        }
        Slots::of(&block).unwrap()
    }

    #[test]
    fn grub_takes_the_first_slot_with_a_try_left_and_counts_it() {
        for (before, started, after) in [
            // A new box.
            (slots("A B", "0", "-"), Slot::A, slots("A B", "1", "-")),
            // On trial: three tries, then the other one.
            (slots("B A", "0p", "2"), Slot::B, slots("B A", "0p", "3")),
            (slots("B A", "0p", "3"), Slot::A, slots("B A", "1p", "3")),
            // Proven: five quick cuts are nothing; twelve are too many if the other one is good.
            (slots("A B", "5p", "0p"), Slot::A, slots("A B", "6p", "0p")),
            (slots("A B", "12p", "0p"), Slot::B, slots("A B", "12p", "1p")),
            (slots("A B", "12p", "-"), Slot::A, slots("A B", "1p", "-")),
            // Nothing is left: the best known one gets another round.
            (slots("B A", "12p", "3"), Slot::A, slots("B A", "1p", "3")),
            (slots("B A", "3", "3"), Slot::B, slots("B A", "3", "1")),
            (slots("B A", "x", "-"), Slot::A, slots("B A", "1", "-")),
            // Nothing is known to be bootable: the first one, uncounted.
            (slots("B A", "-", "-"), Slot::B, slots("B A", "-", "-")),
        ] {
            let mut slots = before;
            assert_eq!((slots.start(), slots), (started, after), "{before:?}");
        }
    }

    #[test]
    fn an_unreadable_kernel_gives_the_other_slot_its_turn_at_once() {
        for (before, other, after) in [
            (slots("A B", "1p", "0p"), Some(Slot::B), slots("A B", "1p", "1p")),
            (slots("A B", "1p", "3"), Some(Slot::B), slots("A B", "1p", "1")),
            (slots("A B", "1p", "-"), None, slots("A B", "1p", "-")),
        ] {
            let mut slots = before;
            assert_eq!((slots.take_over(Slot::A), slots), (other, after), "{before:?}");
        }
    }

    #[test]
    fn only_a_slot_on_trial_that_another_can_replace_starts_again() {
        for (slots, running, expected) in [
            (slots("B A", "0p", "1"), Slot::B, AfterFailure::Restart),
            (slots("B A", "0p", "3"), Slot::B, AfterFailure::Restart),
            (slots("B A", "12p", "2"), Slot::B, AfterFailure::Restart),
            (slots("B A", "1", "1"), Slot::B, AfterFailure::Restart),
            (slots("A B", "1p", "0p"), Slot::A, AfterFailure::StayProven),
            (slots("A B", "2", "-"), Slot::A, AfterFailure::StayAlone),
            (slots("B A", "1", "3"), Slot::A, AfterFailure::StayAlone),
            (slots("B A", "0p", "0"), Slot::B, AfterFailure::StayUncounted),
        ] {
            assert_eq!(slots.after_failure(running), expected, "{running} of {slots:?}");
        }
    }

    #[test]
    fn a_failing_slot_never_restarts_the_box_for_ever() {
        // Whatever is known at first, with both slots failing every time.
        let forms = ["-", "0", "2", "3", "0p", "11p", "12p", "x"];
        for order in ["A B", "B A"] {
            for (a, b) in forms.iter().flat_map(|a| forms.map(|b| (*a, b))) {
                let mut slots = slots(order, a, b);
                let most = TRIAL_TRIES * 2 + 1;
                let ends = (0..most).any(|_| {
                    let running = slots.start();
                    slots.after_failure(running) != AfterFailure::Restart
                });
                assert!(ends, "{order} {a} {b}");
            }
        }
    }

    #[test]
    fn a_slot_that_works_is_proven_until_something_else_is_written_into_it() {
        let mut slots = slots("B A", "0p", "2");
        slots.mark_good(Slot::B);
        assert_eq!(slots, self::slots("B A", "0p", "0p"));
        slots.release(Slot::A);
        let mut block = Block::default();
        slots.write(&mut block);
        let text: Vec<_> = ["ORDER", "A_OK", "A_TRY", "A_PROVEN", "B_OK", "B_TRY", "B_PROVEN"]
            .map(|name| block.get(name))
            .into();
        assert_eq!(
            text,
            [Some("B A"), Some("0"), Some("0"), None, Some("1"), Some("0"), Some("1")],
            "a new version starts on trial"
        );
    }

    #[test]
    fn an_order_that_is_none_is_damage() {
        for order in ["", "A", "A A", "B A B", "A C", "A  B"] {
            let mut block = Block::default();
            block.set(ORDER, order);
            assert_eq!(Slots::of(&block), Err(Damage::Order(order.to_owned())));
        }
        assert_eq!(Slots::of(&Block::default()), Err(Damage::Order(String::new())));
    }

    #[test]
    fn states_are_told_in_grubs_order() {
        assert_eq!(
            slots("B A", "2p", "3").states(),
            [
                SlotState { slot: Slot::B, standing: Standing::OnTrial { tries_left: 0 } },
                SlotState { slot: Slot::A, standing: Standing::Proven { tries_left: PROVEN_TRIES - 2 } },
            ]
        );
        assert_eq!(slots("A B", "0", "-").states()[1].standing, Standing::Unbootable);
    }
}
