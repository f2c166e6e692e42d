//! Bounds the bytes of request bodies in work together, whatever their number, with a share for each caller.

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use hyper::body::{Frame, SizeHint};

use crate::fair_share::{Exhausted, FairShare};
use crate::problem::Problem;

/// So much of each body is not counted: connections are bounded, and nobody is kept from logging in.
const UNCOUNTED: u64 = 16 * 1024;
/// The budget holds so many bodies of the largest size that is accepted, at least.
const LARGEST_BODIES: u64 = 4;
/// Seconds after which a client should try again.
const RETRY_AFTER_S: u64 = 5;

/// What all request bodies may take together.
#[derive(Debug)]
pub(crate) struct MemoryBudget(Arc<FairShare>);

/// What one request's body takes, until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    share: Arc<FairShare>,
    caller: String,
    bytes: Mutex<u64>,
    refusal: OnceLock<Exhausted>,
}

impl MemoryBudget {
    /// A budget of so many bytes, or what bodies of up to `largest_body` bytes need.
    pub(crate) fn new(total: u64, largest_body: usize) -> Self {
        let total = total.max(largest_body as u64 * LARGEST_BODIES);
        Self(Arc::new(FairShare::new(total)))
    }

    /// What a request of this caller takes: nothing yet.
    pub(crate) fn begin(&self, caller: String) -> Arc<Reservation> {
        let share = Arc::clone(&self.0);
        Arc::new(Reservation { share, caller, bytes: Mutex::default(), refusal: OnceLock::new() })
    }
}

impl Reservation {
    /// Takes what a body of so many bytes needs.
    pub(crate) fn grow_to(&self, body_bytes: u64) -> Result<(), Exhausted> {
        let mut held = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let more = body_bytes.saturating_sub(UNCOUNTED).saturating_sub(*held);
        if more > 0 {
            self.share.take(&self.caller, more).inspect_err(|why| {
                metrics::counter!("http_bodies_refused_total").increment(1);
                self.refusal.get_or_init(|| *why);
            })?;
            *held += more;
        }
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
        self.share.give_back(&self.caller, held);
    }
}

/// What is told of a body for which there is no memory.
pub(crate) fn refused(why: Exhausted) -> Problem {
    let (status, kind, title, detail) = match why {
        Exhausted::Share => (
            StatusCode::TOO_MANY_REQUESTS,
            "too-much-in-work",
            "Too much is in work for this caller",
            "Your requests that are not answered yet take all the memory that one caller may have. Wait until some \
             are answered, or send smaller ones.",
        ),
        Exhausted::Total => (
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "Too much is in work",
            "Requests that are not answered yet take the memory that there is for them. Try again in a moment.",
        ),
    };
    Problem::new(status, kind, title, detail).retry_after(RETRY_AFTER_S)
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
    fn a_body_that_grows_counts_once_and_not_when_it_is_gone() {
        let budget = MemoryBudget::new(4 << 20, 0);
        let reservation = budget.begin("a".into());
        for mib in [1, 2, 2, 1] {
            reservation.grow_to((mib << 20) + UNCOUNTED).expect("a half");
        }
        assert_eq!(reservation.refusal(), None);
        assert_eq!(reservation.grow_to(3 << 20), Err(Exhausted::Share));
        assert_eq!(reservation.refusal(), Some(Exhausted::Share));
        drop(reservation);
        budget.begin("a".into()).grow_to(2 << 20).expect("it is free again");
    }
}
