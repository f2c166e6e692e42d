//! In which order requests that wait for one model are served. Pure: time enters as an argument.
//!
//! Priorities go before each other, and waiting raises them, so that nobody waits for ever. Within a
//! priority, callers take turns, however many requests each has; a caller's own go in order.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::request::Priority;

/// Requests of one caller that may wait.
const MOST_OF_ONE: usize = 64;
/// Requests that may wait together.
const MOST: usize = 512;
/// Waiting this long counts as one priority more.
const AGEING: Duration = Duration::from_secs(30);

/// A request that waits.
#[derive(Debug)]
struct Entry<T> {
    ticket: u64,
    caller: String,
    priority: Priority,
    since: Instant,
    item: T,
}

/// Too many wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueFull {
    /// Requests before this one.
    pub(crate) waiting: usize,
}

/// The requests that wait for one model.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    waiting: Vec<Entry<T>>,
    /// When each caller was served last; larger is later.
    served: HashMap<String, u64>,
    clock: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), served: HashMap::new(), clock: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Requests that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a request; its ticket takes it out again.
    pub(crate) fn push(
        &mut self,
        caller: &str,
        priority: Priority,
        now: Instant,
        item: T,
    ) -> Result<u64, QueueFull> {
        let own = self.waiting.iter().filter(|waiting| waiting.caller == caller).count();
        if own >= MOST_OF_ONE || self.waiting.len() >= MOST {
            return Err(QueueFull { waiting: self.waiting.len() });
        }
        self.clock += 1;
        let ticket = self.clock;
        self.waiting.push(Entry { ticket, caller: caller.to_owned(), priority, since: now, item });
        Ok(ticket)
    }

    /// Takes out a request whose client has left.
    pub(crate) fn remove(&mut self, ticket: u64) {
        self.waiting.retain(|waiting| waiting.ticket != ticket);
    }

    /// Takes out the request that is served next.
    pub(crate) fn next(&mut self, now: Instant) -> Option<T> {
        let rank = |waiting: &Entry<T>| {
            let aged = now.saturating_duration_since(waiting.since).as_secs() / AGEING.as_secs();
            let urgency = waiting.priority as u64 + aged;
            let served = self.served.get(&waiting.caller).copied().unwrap_or(0);
            (std::cmp::Reverse(urgency), served, waiting.ticket)
        };
        let index = (0..self.waiting.len()).min_by_key(|index| rank(&self.waiting[*index]))?;
        let taken = self.waiting.remove(index);
        self.record_served(&taken.caller);
        if self.waiting.is_empty() {
            // Turns matter only among those who wait.
            self.served.clear();
        }
        Some(taken.item)
    }

    /// Notes that a caller was served without waiting.
    pub(crate) fn record_served(&mut self, caller: &str) {
        self.clock += 1;
        self.served.insert(caller.to_owned(), self.clock);
        if self.served.len() > MOST {
            self.served.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(pushes: &[(&str, Priority, u64)], now: u64) -> String {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut queue = FairQueue::default();
        for (number, (caller, priority, since)) in pushes.iter().enumerate() {
            queue.push(caller, *priority, at(*since), format!("{caller}{number} ")).expect("room");
        }
        std::iter::from_fn(|| queue.next(at(now))).collect::<String>().trim_end().to_owned()
    }

    #[test]
    fn callers_take_turns_and_urgent_requests_go_first() {
        use Priority::{Background, Interactive, Normal};
        let cases: [(&[_], u64, &str); 4] = [
            (&[("a", Normal, 0), ("a", Normal, 0), ("a", Normal, 0), ("b", Normal, 0)], 0, "a0 b3 a1 a2"),
            (&[("a", Background, 0), ("b", Normal, 0), ("c", Interactive, 0)], 0, "c2 b1 a0"),
            // After a minute, what nobody waits for is as urgent as what somebody looks at.
            (&[("a", Background, 0), ("b", Interactive, 60)], 60, "a0 b1"),
            (&[], 0, ""),
        ];
        for (pushes, now, expected) in cases {
            assert_eq!(order(pushes, now), expected, "{pushes:?}");
        }
    }

    #[test]
    fn the_queue_is_bounded_for_each_and_for_all() {
        let now = Instant::now();
        let mut queue = FairQueue::default();
        for _ in 0..MOST_OF_ONE {
            queue.push("greedy", Priority::Interactive, now, ()).expect("room");
        }
        assert_eq!(
            queue.push("greedy", Priority::Interactive, now, ()),
            Err(QueueFull { waiting: MOST_OF_ONE })
        );
        let ticket = queue.push("other", Priority::Background, now, ()).expect("room for others");
        queue.remove(ticket);
        assert_eq!(queue.len(), MOST_OF_ONE);
        for number in queue.len()..MOST {
            queue.push(&number.to_string(), Priority::Normal, now, ()).expect("room");
        }
        assert!(queue.push("last", Priority::Interactive, now, ()).is_err());
    }
}
