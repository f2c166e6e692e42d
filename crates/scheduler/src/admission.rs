//! The admission queue: as many requests of a model at once as its engine has slots, the others in turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::ScheduleError;
use crate::fair_queue::{Demand, FairQueue};
use crate::request::{LeaseRequest, Priority};

/// What a request takes before any has been measured.
const FIRST_GUESS: Duration = Duration::from_secs(5);
/// Share of the newest measurement in the estimate, in percent.
const NEWEST: u32 = 20;

/// The admission queues of all models.
#[derive(Debug)]
pub(crate) struct AdmissionQueue {
    slots: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    models: HashMap<String, ModelQueue>,
    /// How long requests to each model take once it is loaded, smoothed. Kept when a queue empties.
    durations: HashMap<String, Duration>,
}

#[derive(Debug, Default)]
struct ModelQueue {
    in_flight: usize,
    /// Each gets its slot sent: one that is dropped unread passes it on.
    waiting: FairQueue<oneshot::Sender<Slot>>,
}

/// One slot of a model. Dropping it lets the next one in.
#[derive(Debug)]
struct Slot {
    queue: Arc<AdmissionQueue>,
    model: String,
}

/// The right of a request to use one slot of a model.
#[derive(Debug)]
pub(crate) struct Permit {
    slot: Slot,
    caller: String,
    priority: Priority,
    /// Tokens that it was charged with.
    tokens: u32,
    /// When the model was there to answer.
    since: Option<Instant>,
}

impl Permit {
    /// The model is loaded and the request begins.
    pub(crate) fn begins(&mut self) {
        self.since = Some(Instant::now());
    }

    /// The request took so many tokens, whatever was estimated.
    pub(crate) fn settle(&mut self, took: u32) {
        if let Some(model) = self.slot.queue.lock().models.get_mut(&self.slot.model) {
            model.waiting.settle(self.demand(), took);
        }
        self.tokens = took;
    }

    fn new(slot: Slot, request: &LeaseRequest) -> Self {
        let (caller, priority, tokens) = (request.caller.clone(), request.priority, request.tokens);
        Self { slot, caller, priority, tokens, since: None }
    }

    fn demand(&self) -> Demand<'_> {
        Demand { caller: &self.caller, priority: self.priority, tokens: self.tokens }
    }
}

/// A request's place in the queue; takes it out when its client leaves.
struct Ticket {
    queue: Arc<AdmissionQueue>,
    model: String,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(model) = self.queue.lock().models.get_mut(&self.model) {
            model.waiting.remove(self.number);
        }
    }
}

impl AdmissionQueue {
    /// Queues for engines that answer so many requests together.
    pub(crate) fn new(slots: u32) -> Arc<Self> {
        Arc::new(Self { slots: slots.max(1) as usize, state: Mutex::default() })
    }

    /// Waits for a slot. Fails when too many wait already.
    pub(crate) async fn admit(self: &Arc<Self>, request: &LeaseRequest) -> Result<Permit, ScheduleError> {
        let (sender, receiver) = oneshot::channel();
        let number = {
            let mut state = self.lock();
            let takes = state.durations.get(&request.model).copied().unwrap_or(FIRST_GUESS);
            let model = state.models.entry(request.model.clone()).or_default();
            if model.in_flight < self.slots {
                model.in_flight += 1;
                model.waiting.record_served(request.into());
                return Ok(Permit::new(self.slot(&request.model), request));
            }
            model.waiting.push(request.into(), sender).map_err(|full| {
                let rounds = full.waiting.div_ceil(self.slots) as u32;
                let seconds = takes.saturating_mul(rounds).as_secs().clamp(1, 3600);
                ScheduleError::QueueFull { id: request.model.clone(), waiting: full.waiting, seconds }
            })?
        };
        let ticket = Ticket { queue: Arc::clone(self), model: request.model.clone(), number };
        // The sender is dropped only with the queue, and the queue stays while somebody waits.
        let granted = receiver.await;
        drop(ticket);
        granted.map(|slot| Permit::new(slot, request)).map_err(|_| ScheduleError::ShuttingDown)
    }

    /// Requests that wait for this model.
    pub(crate) fn waiting(&self, model: &str) -> usize {
        self.lock().models.get(model).map_or(0, |model| model.waiting.len())
    }

    fn slot(self: &Arc<Self>, model: &str) -> Slot {
        Slot { queue: Arc::clone(self), model: model.to_owned() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(since) = self.since else { return };
        let durations = &mut self.slot.queue.lock().durations;
        let (took, known) = (since.elapsed(), durations.get(&self.slot.model).copied());
        let takes = known.map_or(took, |known| (known * (100 - NEWEST) + took * NEWEST) / 100);
        durations.insert(self.slot.model.clone(), takes);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        let Some(model) = state.models.get_mut(&self.model) else { return };
        if let Some(next) = model.waiting.next() {
            let slot = self.queue.slot(&self.model);
            drop(state);
            // Whoever left meanwhile gives it back by dropping it, and the next one has it.
            let _ = next.send(slot);
            return;
        }
        model.in_flight = model.in_flight.saturating_sub(1);
        if model.in_flight == 0 {
            state.models.remove(&self.model);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn request(caller: &str) -> LeaseRequest {
        let (model, caller) = ("m".to_owned(), caller.to_owned());
        LeaseRequest {
            model,
            caller,
            priority: Priority::Normal,
            tokens: 1,
            keep_alive: None,
            load_timeout: Duration::ZERO,
        }
    }

    #[tokio::test]
    async fn a_slot_goes_to_the_next_who_still_waits() {
        let queue = AdmissionQueue::new(1);
        let first = queue.admit(&request("a")).await.expect("free");
        let (b, c) = (request("b"), request("c"));
        let mut left = Box::pin(queue.admit(&b));
        let mut waits = Box::pin(queue.admit(&c));
        assert!((&mut left).now_or_never().is_none());
        assert!((&mut waits).now_or_never().is_none());
        assert_eq!(queue.waiting("m"), 2);
        drop(left);
        assert_eq!(queue.waiting("m"), 1, "whoever leaves is out of the queue");
        drop(first);
        let permit = waits.await.expect("its turn");
        drop(permit);
        assert!(queue.lock().models.is_empty(), "nothing is kept of a queue nobody is in");
    }

    #[tokio::test]
    async fn the_time_to_come_back_is_that_of_answers_without_their_loads() {
        let queue = AdmissionQueue::new(1);
        let mut permit = queue.admit(&request("a")).await.expect("free");
        let (granted, load) = (Instant::now(), Duration::from_millis(20));
        std::thread::sleep(load);
        permit.begins();
        drop(permit);
        let known = queue.lock().durations["m"];
        // However slow the machine is: what passed before it began is not in it.
        assert!(known + load <= granted.elapsed(), "{known:?}");
        drop(queue.admit(&request("a")).await);
        assert_eq!(queue.lock().durations["m"], known, "one that never began says nothing");
    }

    #[tokio::test]
    async fn a_grant_to_somebody_who_leaves_at_that_moment_is_not_lost() {
        let queue = AdmissionQueue::new(1);
        let first = queue.admit(&request("a")).await.expect("free");
        let b = request("b");
        let mut waits = Box::pin(queue.admit(&b));
        assert!((&mut waits).now_or_never().is_none());
        drop(first);
        // Granted, and gone before it could look.
        drop(waits);
        let next = queue.admit(&request("c")).now_or_never().expect("no wait");
        assert!(next.is_ok(), "the slot is free again");
    }
}
