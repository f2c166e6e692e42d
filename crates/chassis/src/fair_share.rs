//! Shares out what there is only so much of.
//!
//! A caller may hold as much as is left free afterwards: alone a half, one of two a third. So there is always some
//! left for one who comes later.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is shared out, and who holds how much.
#[derive(Debug)]
pub(crate) struct FairShare {
    total: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: u64,
    callers: HashMap<String, u64>,
}

/// Why a caller gets no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exhausted {
    /// It holds its share already.
    #[error("the caller's share is used up")]
    Share,
    /// Others hold too much.
    #[error("nothing is left")]
    Total,
}

impl FairShare {
    pub(crate) fn new(total: u64) -> Self {
        Self { total, held: Mutex::default() }
    }

    /// Gives a caller more.
    pub(crate) fn take(&self, caller: &str, more: u64) -> Result<(), Exhausted> {
        let mut held = self.lock();
        let own = held.callers.get(caller).copied().unwrap_or(0);
        let free = self.total.saturating_sub(held.total.saturating_add(more));
        if own.saturating_add(more) > free {
            return Err(if own > 0 { Exhausted::Share } else { Exhausted::Total });
        }
        held.total += more;
        *held.callers.entry(caller.to_owned()).or_default() += more;
        Ok(())
    }

    /// Takes back what a caller was given.
    pub(crate) fn give_back(&self, caller: &str, amount: u64) {
        let mut held = self.lock();
        held.total = held.total.saturating_sub(amount);
        if let Some(own) = held.callers.get_mut(caller) {
            *own = own.saturating_sub(amount);
            if *own == 0 {
                held.callers.remove(caller);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_as_much_as_it_leaves_free() {
        let share = FairShare::new(12);
        assert_eq!(share.take("a", 4), Ok(()));
        assert_eq!(share.take("a", 3), Err(Exhausted::Share), "alone it has a half");
        assert_eq!(share.take("a", 2), Ok(()));
        assert_eq!(share.take("b", 3), Ok(()), "there is some for another");
        assert_eq!(share.take("b", 1), Err(Exhausted::Share));
        assert_eq!(share.take("c", 2), Err(Exhausted::Total));
        assert_eq!(share.take("c", 1), Ok(()), "and for a third");
        for (caller, amount) in [("a", 6), ("b", 3), ("c", 1)] {
            share.give_back(caller, amount);
        }
        assert!(share.lock().callers.is_empty() && share.lock().total == 0);
        assert_eq!(share.take("b", 6), Ok(()));
        assert_eq!(share.take("c", u64::MAX), Err(Exhausted::Total));
    }
}
