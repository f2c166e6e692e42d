//! Loads that wait for memory, and who may go before them. Pure but for the list itself.
//!
//! Whatever fits is loaded, though another load waits for more memory than there is now. One that has waited long
//! enough is not kept from fitting any more by loads that came after it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::eviction::LoadedModel;

/// How long a load may be passed by others that take the memory that it will need.
const PATIENCE: Duration = Duration::from_secs(30);

/// Memory that a load wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    bytes: u64,
    since: Instant,
}

/// The loads that are being prepared.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    open: Mutex<Vec<Claim>>,
    /// A claim is settled or given up.
    closed: Notify,
}

/// A load's place among those that want memory, as long as it is prepared.
#[derive(Debug)]
pub(crate) struct OpenClaim {
    claims: Arc<Claims>,
    own: Claim,
}

impl Claims {
    /// Claims memory for a load that begins now.
    pub(crate) fn claim(self: &Arc<Self>, bytes: u64) -> OpenClaim {
        let mut open = self.lock();
        let own = Claim { bytes, since: Instant::now() };
        open.push(own);
        OpenClaim { claims: Arc::clone(self), own }
    }

    /// Ends when one of the claims is settled or given up after this call.
    pub(crate) fn closed(&self) -> tokio::sync::futures::Notified<'_> {
        self.closed.notified()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Claim>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenClaim {
    /// Whether this load has to let an older one go first, for which there would be no room beside it.
    pub(crate) fn must_yield(&self, budget: u64, loaded: &[LoadedModel]) -> bool {
        must_yield(budget, self.own, &self.claims.lock(), loaded, Instant::now())
    }
}

impl Drop for OpenClaim {
    fn drop(&mut self) {
        let mut open = self.claims.lock();
        if let Some(place) = open.iter().position(|claim| *claim == self.own) {
            open.remove(place);
        }
        drop(open);
        self.claims.closed.notify_waiters();
    }
}

fn must_yield(budget: u64, own: Claim, claims: &[Claim], loaded: &[LoadedModel], now: Instant) -> bool {
    let impatient =
        |claim: &&Claim| claim.since < own.since && now.saturating_duration_since(claim.since) >= PATIENCE;
    claims.iter().filter(impatient).any(|older| {
        let passed = loaded.iter().filter(|model| model.loaded_at > older.since).map(|model| model.bytes);
        let wanted = passed.chain([older.bytes, own.bytes]).fold(0, u64::saturating_add);
        wanted > budget
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_waited_long_is_not_passed_by_what_would_keep_it_from_fitting() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let claim = |bytes, second| Claim { bytes, since: at(second) };
        let model = |bytes, second| LoadedModel {
            id: "m".into(),
            bytes,
            in_flight: 1,
            last_used: 0,
            stopping: false,
            pinned: false,
            loaded_at: at(second),
        };
        let own = claim(3, 40);
        let cases = [
            ("nobody else waits", vec![], vec![], 50, false),
            ("it has not waited long", vec![claim(8, 30)], vec![], 50, false),
            ("it has", vec![claim(8, 10)], vec![], 50, true),
            ("there is room for both", vec![claim(7, 10)], vec![], 50, false),
            ("what it waits for counts for nothing", vec![claim(7, 10)], vec![model(9, 5)], 50, false),
            ("what has passed it already counts", vec![claim(5, 10)], vec![model(3, 20)], 50, true),
            ("it came later", vec![claim(8, 41)], vec![], 90, false),
            ("its own claim does not stop it", vec![own], vec![], 90, false),
        ];
        for (name, claims, loaded, now, expected) in cases {
            assert_eq!(must_yield(10, own, &claims, &loaded, at(now)), expected, "{name}");
        }
    }
}
