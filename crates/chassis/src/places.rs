//! Room for a bounded number of connections. When it is full, the one that has been idle longest goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// A connection this young may be about to send its first request.
const YOUNG: Duration = Duration::from_secs(1);
/// How often a full house is looked through for idle ones.
const LOOK: Duration = Duration::from_millis(50);
/// Connections that are asked to leave together at most: many may wait outside.
const AT_ONCE: usize = 32;

/// The connections of one listener.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    connections: BTreeMap<u64, Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Requests that are being answered.
    busy: usize,
    idle_since: Instant,
    leave: CancellationToken,
}

/// A connection's place, as long as it lives.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    leave: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Busy {
    places: Arc<Places>,
    number: u64,
}

impl Places {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), taken: Mutex::default() })
    }

    /// Waits for a place; idle connections make room.
    pub(crate) async fn take(self: &Arc<Self>) -> std::io::Result<Place> {
        let permit = loop {
            let free = Arc::clone(&self.free).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(LOOK, free).await {
                break permit.map_err(std::io::Error::other)?;
            }
            self.make_room();
        };
        let leave = CancellationToken::new();
        let mut taken = self.lock();
        taken.next += 1;
        let number = taken.next;
        let seen = Seen { busy: 0, idle_since: Instant::now(), leave: leave.clone() };
        taken.connections.insert(number, seen);
        drop(taken);
        Ok(Place { places: Arc::clone(self), number, leave, _permit: permit })
    }

    fn make_room(&self) {
        let taken = self.lock();
        let leaving = taken.connections.values().filter(|seen| seen.leave.is_cancelled()).count();
        let idle =
            |seen: &&Seen| seen.busy == 0 && !seen.leave.is_cancelled() && seen.idle_since.elapsed() >= YOUNG;
        let mut idle: Vec<&Seen> = taken.connections.values().filter(idle).collect();
        idle.sort_by_key(|seen| seen.idle_since);
        let most = AT_ONCE.min(taken.connections.len().div_ceil(8)).saturating_sub(leaving);
        for seen in idle.into_iter().take(most) {
            seen.leave.cancel();
            metrics::counter!("http_idle_connections_ended_total").increment(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Ends when this connection has to make room.
    pub(crate) const fn leave(&self) -> &CancellationToken {
        &self.leave
    }

    /// How requests on this connection say that they are being answered.
    pub(crate) fn begin(&self) -> impl Fn() -> Busy + Clone + Send + Sync + use<> {
        let (places, number) = (Arc::clone(&self.places), self.number);
        move || {
            if let Some(seen) = places.lock().connections.get_mut(&number) {
                seen.busy += 1;
            }
            Busy { places: Arc::clone(&places), number }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(seen) = self.places.lock().connections.get_mut(&self.number) {
            seen.busy = seen.busy.saturating_sub(1);
            seen.idle_since = Instant::now();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_one_makes_room_and_busy_ones_stay() {
        let places = Places::new(2);
        let first = places.take().await.expect("free");
        let busy = (first.begin())();
        let second = places.take().await.expect("free");
        let waiting = {
            let places = Arc::clone(&places);
            tokio::spawn(async move { places.take().await })
        };
        second.leave().cancelled().await;
        assert!(!first.leave().is_cancelled(), "it is answering");
        drop(second);
        let third = waiting.await.expect("task").expect("room");
        drop(busy);
        let waiting = tokio::spawn(async move { places.take().await });
        third.leave().cancelled().await;
        assert!(!first.leave().is_cancelled(), "it has just answered");
        drop(third);
        waiting.await.expect("task").expect("room");
    }
}
