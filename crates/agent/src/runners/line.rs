//! The line before each model: as many requests at once as its runner has slots, the others in turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actionbooster_scheduler::{LeaseRequest, ScheduleError};
use tokio::sync::oneshot;

use super::queue::Queue;

/// What a request takes before any has been measured.
const FIRST_GUESS: Duration = Duration::from_secs(5);
/// Share of the newest measurement in the estimate, in percent.
const NEWEST: u32 = 20;

/// The lines of all models.
#[derive(Debug)]
pub(super) struct Lines {
    slots: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    lines: HashMap<String, Line>,
    /// How long requests to each model take once it is loaded, smoothed. Kept when a line empties.
    takes: HashMap<String, Duration>,
}

#[derive(Debug, Default)]
struct Line {
    in_flight: usize,
    /// Each gets its turn sent: one that is dropped unread passes it on.
    queue: Queue<oneshot::Sender<Turn>>,
}

/// The right to use one slot of a model. Dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Turn {
    lines: Arc<Lines>,
    model: String,
    /// When the model was there to answer.
    since: Option<Instant>,
}

impl Turn {
    /// The model is loaded and the request begins.
    pub(super) fn begins(&mut self) {
        self.since = Some(Instant::now());
    }
}

/// Takes a request out of the line when its client leaves.
struct Place {
    lines: Arc<Lines>,
    model: String,
    ticket: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(line) = self.lines.lock().lines.get_mut(&self.model) {
            line.queue.remove(self.ticket);
        }
    }
}

impl Lines {
    pub(super) fn new(slots: u32) -> Arc<Self> {
        Arc::new(Self { slots: slots.max(1) as usize, inside: Mutex::default() })
    }

    /// Waits for a slot, or is refused because too many wait already.
    pub(super) async fn turn(self: &Arc<Self>, want: &LeaseRequest) -> Result<Turn, ScheduleError> {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut inside = self.lock();
            let takes = inside.takes.get(&want.model).copied().unwrap_or(FIRST_GUESS);
            let line = inside.lines.entry(want.model.clone()).or_default();
            if line.in_flight < self.slots {
                line.in_flight += 1;
                line.queue.note(&want.caller);
                return Ok(self.granted(&want.model));
            }
            line.queue.push(&want.caller, want.priority, Instant::now(), sender).map_err(|full| {
                let rounds = full.waiting.div_ceil(self.slots) as u32;
                let seconds = takes.saturating_mul(rounds).as_secs().clamp(1, 3600);
                ScheduleError::QueueFull { id: want.model.clone(), waiting: full.waiting, seconds }
            })?
        };
        let place = Place { lines: Arc::clone(self), model: want.model.clone(), ticket };
        // The sender is dropped only with the line, and the line stays while somebody waits.
        let granted = receiver.await;
        drop(place);
        granted.map_err(|_| ScheduleError::ShuttingDown)
    }

    /// Requests that wait for this model.
    pub(super) fn waiting(&self, model: &str) -> usize {
        self.lock().lines.get(model).map_or(0, |line| line.queue.len())
    }

    fn granted(self: &Arc<Self>, model: &str) -> Turn {
        Turn { lines: Arc::clone(self), model: model.to_owned(), since: None }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inside = self.lines.lock();
        if let Some(since) = self.since {
            let (took, known) = (since.elapsed(), inside.takes.get(&self.model).copied());
            let takes = known.map_or(took, |known| (known * (100 - NEWEST) + took * NEWEST) / 100);
            inside.takes.insert(self.model.clone(), takes);
        }
        let Some(line) = inside.lines.get_mut(&self.model) else { return };
        if let Some(next) = line.queue.next(Instant::now()) {
            let turn = self.lines.granted(&self.model);
            drop(inside);
            // Whoever left meanwhile gives it back by dropping it, and the next one has it.
            let _ = next.send(turn);
            return;
        }
        line.in_flight = line.in_flight.saturating_sub(1);
        if line.in_flight == 0 {
            inside.lines.remove(&self.model);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use actionbooster_scheduler::Priority;

    fn want(caller: &str) -> LeaseRequest {
        let (model, caller) = ("m".to_owned(), caller.to_owned());
        LeaseRequest {
            model,
            caller,
            priority: Priority::Normal,
            keep_alive: None,
            load_timeout: Duration::ZERO,
        }
    }

    #[tokio::test]
    async fn a_slot_goes_to_the_next_who_still_waits() {
        let lines = Lines::new(1);
        let first = lines.turn(&want("a")).await.expect("free");
        let (b, c) = (want("b"), want("c"));
        let mut left = Box::pin(lines.turn(&b));
        let mut waits = Box::pin(lines.turn(&c));
        assert!((&mut left).now_or_never().is_none());
        assert!((&mut waits).now_or_never().is_none());
        assert_eq!(lines.waiting("m"), 2);
        drop(left);
        assert_eq!(lines.waiting("m"), 1, "whoever leaves is out of the line");
        drop(first);
        let turn = waits.await.expect("its turn");
        drop(turn);
        assert!(lines.lock().lines.is_empty(), "nothing is kept of a line nobody is in");
    }

    #[tokio::test]
    async fn the_time_to_come_back_is_that_of_answers_without_their_loads() {
        let lines = Lines::new(1);
        let mut turn = lines.turn(&want("a")).await.expect("free");
        let (granted, load) = (Instant::now(), Duration::from_millis(20));
        std::thread::sleep(load);
        turn.begins();
        drop(turn);
        let known = lines.lock().takes["m"];
        // However slow the machine is: what passed before it began is not in it.
        assert!(known + load <= granted.elapsed(), "{known:?}");
        drop(lines.turn(&want("a")).await);
        assert_eq!(lines.lock().takes["m"], known, "one that never began says nothing");
    }

    #[tokio::test]
    async fn a_grant_to_somebody_who_leaves_at_that_moment_is_not_lost() {
        let lines = Lines::new(1);
        let first = lines.turn(&want("a")).await.expect("free");
        let b = want("b");
        let mut waits = Box::pin(lines.turn(&b));
        assert!((&mut waits).now_or_never().is_none());
        drop(first);
        // Granted, and gone before it could look.
        drop(waits);
        let next = lines.turn(&want("c")).now_or_never().expect("no wait");
        assert!(next.is_ok(), "the slot is free again");
    }
}
