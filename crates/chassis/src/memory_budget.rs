//! Bounds the bytes of request bodies in work together, whatever their number.
//!
//! A caller may hold as much as is left free afterwards: alone a half, one of two a third. So there is always room
//! for one who comes later.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use hyper::body::{Frame, SizeHint};

use crate::problem::Problem;

/// So much of each body is not counted: connections are bounded, and nobody is kept from logging in.
const UNCOUNTED: u64 = 16 * 1024;
/// The budget holds so many bodies of the largest size that is accepted, at least.
const LARGEST_BODIES: u64 = 4;
/// Seconds after which a client should try again.
const RETRY_AFTER_S: u64 = 5;

/// What all request bodies may take together.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    total: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    total: u64,
    callers: HashMap<String, u64>,
}

/// What one request's body takes, until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<MemoryBudget>,
    caller: String,
    bytes: Mutex<u64>,
    refusal: OnceLock<Exhausted>,
}

/// Why a body may not take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exhausted {
    /// The caller's other requests hold its share.
    #[error("the caller's share of the memory for requests is used up")]
    Share,
    /// The requests of others leave too little.
    #[error("the memory for requests is used up")]
    Total,
}

impl MemoryBudget {
    /// A budget of so many bytes, or what bodies of up to `largest_body` bytes need.
    pub(crate) fn new(total: u64, largest_body: usize) -> Arc<Self> {
        let total = total.max(largest_body as u64 * LARGEST_BODIES);
        Arc::new(Self { total, used: Mutex::default() })
    }

    /// What a request of this caller takes: nothing yet.
    pub(crate) fn begin(self: &Arc<Self>, caller: String) -> Arc<Reservation> {
        let budget = Arc::clone(self);
        Arc::new(Reservation { budget, caller, bytes: Mutex::default(), refusal: OnceLock::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Takes what a body of so many bytes needs.
    pub(crate) fn grow_to(&self, body_bytes: u64) -> Result<(), Exhausted> {
        let mut held = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let more = body_bytes.saturating_sub(UNCOUNTED).saturating_sub(*held);
        if more == 0 {
            return Ok(());
        }
        let mut used = self.budget.lock();
        let own = used.callers.get(&self.caller).copied().unwrap_or(0);
        let free = self.budget.total.saturating_sub(used.total.saturating_add(more));
        if own.saturating_add(more) > free {
            let refusal = if own > *held { Exhausted::Share } else { Exhausted::Total };
            metrics::counter!("http_bodies_refused_total").increment(1);
            return Err(*self.refusal.get_or_init(|| refusal));
        }
        used.total += more;
        *used.callers.entry(self.caller.clone()).or_default() += more;
        *held += more;
        drop(used);
        Ok(())
    }

    /// Why its body was cut, if it was.
    pub(crate) fn refusal(&self) -> Option<Exhausted> {
        self.refusal.get().copied()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let held = *self.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
        if held == 0 {
            return;
        }
        let mut used = self.budget.lock();
        used.total -= held;
        if let Some(own) = used.callers.get_mut(&self.caller) {
            *own -= held;
            if *own == 0 {
                used.callers.remove(&self.caller);
            }
        }
    }
}

impl Exhausted {
    pub(crate) fn problem(self) -> Problem {
        let (status, kind, title, detail) = match self {
            Self::Share => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-much-in-work",
                "Too much is in work for this caller",
                "Your requests that are not answered yet take all the memory that one caller may have. Wait until \
                 some are answered, or send smaller ones.",
            ),
            Self::Total => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Too much is in work",
                "Requests that are not answered yet take the memory that there is for them. Try again in a moment.",
            ),
        };
        Problem::new(status, kind, title, detail).retry_after(RETRY_AFTER_S)
    }
}

/// A body that ends where there is no memory for more of it.
pub(crate) struct CountedBody {
    body: Body,
    bytes: u64,
    reservation: Arc<Reservation>,
}

impl CountedBody {
    pub(crate) const fn new(body: Body, reservation: Arc<Reservation>) -> Self {
        Self { body, bytes: 0, reservation }
    }
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        if let Ok(frame) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.bytes += data.len() as u64;
            if let Err(refusal) = self.reservation.grow_to(self.bytes) {
                return Poll::Ready(Some(Err(refusal.into())));
            }
        }
        Poll::Ready(Some(frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_as_much_as_it_leaves_free() {
        let budget = MemoryBudget::new(12 << 20, 0);
        let body = |mib: u64| (mib << 20) + UNCOUNTED;
        let take = |caller: &str, mib| {
            let reservation = budget.begin(caller.into());
            reservation.grow_to(body(mib)).map(|()| reservation)
        };
        let first = take("a", 4).expect("room");
        assert_eq!(take("a", 3).err(), Some(Exhausted::Share), "alone it has a half");
        let second = take("a", 2).expect("its half");
        let other = take("b", 3).expect("there is room for another");
        assert_eq!(take("b", 1).err(), Some(Exhausted::Share));
        assert_eq!(take("c", 2).err(), Some(Exhausted::Total));
        take("c", 1).expect("and for a third");
        drop((first, other));
        take("b", 5).expect("what ended is free again");
        drop(second);
        assert!(budget.lock().callers.is_empty() && budget.lock().total == 0);
    }

    #[test]
    fn small_bodies_are_never_refused_and_the_largest_always_fits() {
        let budget = MemoryBudget::new(0, 1 << 20);
        let large: Vec<_> = (0..2)
            .map(|_| {
                let reservation = budget.begin("a".into());
                reservation.grow_to(1 << 20).expect("two of the largest");
                reservation
            })
            .collect();
        assert_eq!(budget.begin("a".into()).grow_to(1 << 20), Err(Exhausted::Share));
        assert_eq!(budget.begin("a".into()).grow_to(UNCOUNTED), Ok(()));
        drop(large);
    }

    #[test]
    fn a_body_that_grows_counts_once() {
        let budget = MemoryBudget::new(4 << 20, 0);
        let reservation = budget.begin("a".into());
        for mib in [1, 2, 2, 1] {
            reservation.grow_to((mib << 20) + UNCOUNTED).expect("a half");
        }
        assert_eq!(budget.lock().total, 2 << 20);
        assert_eq!(reservation.grow_to(3 << 20), Err(Exhausted::Total), "no other request of its own");
        assert_eq!(reservation.refusal(), Some(Exhausted::Total));
    }
}
