//! In which order requests that wait for one model are served: weighted fair queuing, in tokens. Pure.
//!
//! Start-time fair queuing (Goyal, Vin and Cheng 1996) in two levels. Priorities share a model by their weights;
//! within a priority every caller has the same share, however many requests each of them has waiting; a caller's own
//! go in order. Whoever had nothing waiting starts at the virtual time of now, so that nobody saves up turns, and
//! nobody waits behind another's queue. A share is never zero, so that nobody waits for ever.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::request::{LeaseRequest, Priority};

/// Requests of one caller that may wait.
const MOST_OF_ONE: usize = 64;
/// Requests that may wait together.
const MOST: usize = 512;

/// Virtual time that passes for each token of a priority: where all of them wait, of 21 tokens 16 are interactive,
/// 4 normal and 1 is in the background.
const fn time_per_token(priority: Priority) -> u64 {
    match priority {
        Priority::Interactive => 1,
        Priority::Normal => 4,
        Priority::Background => 16,
    }
}

/// Who is served, and how large the request is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand<'a> {
    pub(crate) caller: &'a str,
    pub(crate) priority: Priority,
    /// Tokens that it will probably take.
    pub(crate) tokens: u32,
}

impl<'a> From<&'a LeaseRequest> for Demand<'a> {
    fn from(request: &'a LeaseRequest) -> Self {
        Self { caller: &request.caller, priority: request.priority, tokens: request.tokens }
    }
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
    classes: BTreeMap<Priority, Class<T>>,
    /// Start of what was served last.
    now: u64,
    waiting: usize,
    last_ticket: u64,
}

/// The requests of one priority.
#[derive(Debug)]
struct Class<T> {
    callers: HashMap<String, Flow<T>>,
    /// Start of what was served last of this priority, in a time of its own.
    now: u64,
    /// When it may be served next.
    start: u64,
}

/// The requests of one caller.
#[derive(Debug)]
struct Flow<T> {
    waiting: VecDeque<Waiting<T>>,
    /// When it may be served next.
    start: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: u64,
    tokens: u32,
    item: T,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { classes: BTreeMap::new(), now: 0, waiting: 0, last_ticket: 0 }
    }
}

impl<T> Class<T> {
    fn new() -> Self {
        Self { callers: HashMap::new(), now: 0, start: 0 }
    }

    fn is_waiting(&self) -> bool {
        self.callers.values().any(Flow::is_waiting)
    }

    fn flow(&mut self, caller: &str) -> &mut Flow<T> {
        let fresh = || Flow { waiting: VecDeque::new(), start: self.now };
        let flow = self.callers.entry(caller.to_owned()).or_insert_with(fresh);
        if !flow.is_waiting() {
            flow.start = flow.start.max(self.now);
        }
        flow
    }

    /// Forgets callers who wait for nothing and owe nothing.
    fn tidy(&mut self) {
        let now = self.now;
        self.callers.retain(|_, flow| flow.is_waiting() || flow.start > now);
    }
}

impl<T> Flow<T> {
    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Its place among flows: those who start earlier first, then those who came earlier.
    fn rank(&self) -> Option<(u64, u64)> {
        self.waiting.front().map(|first| (self.start, first.ticket))
    }
}

impl<T> FairQueue<T> {
    /// Requests that wait.
    pub(crate) const fn len(&self) -> usize {
        self.waiting
    }

    /// Adds a request; its ticket takes it out again.
    pub(crate) fn push(&mut self, demand: Demand<'_>, item: T) -> Result<u64, QueueFull> {
        let of_caller =
            |class: &Class<T>| class.callers.get(demand.caller).map_or(0, |flow| flow.waiting.len());
        let own: usize = self.classes.values().map(of_caller).sum();
        if own >= MOST_OF_ONE || self.waiting >= MOST {
            return Err(QueueFull { waiting: self.waiting });
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let flow = self.class(demand.priority).flow(demand.caller);
        flow.waiting.push_back(Waiting { ticket, tokens: demand.tokens, item });
        self.waiting += 1;
        Ok(ticket)
    }

    /// Takes out a request whose client has left.
    pub(crate) fn remove(&mut self, ticket: u64) {
        for class in self.classes.values_mut() {
            for flow in class.callers.values_mut() {
                let before = flow.waiting.len();
                flow.waiting.retain(|waiting| waiting.ticket != ticket);
                self.waiting -= before - flow.waiting.len();
            }
            class.tidy();
        }
    }

    /// Takes out the request that is served next.
    pub(crate) fn next(&mut self) -> Option<T> {
        let waiting = self.classes.iter().filter(|(_, class)| class.is_waiting());
        let priority = waiting.min_by_key(|(priority, class)| (class.start, std::cmp::Reverse(**priority)));
        let priority = *priority?.0;
        let class = self.classes.get(&priority)?;
        let (_, caller) =
            class.callers.iter().filter_map(|(caller, flow)| Some((flow.rank()?, caller))).min()?;
        let caller = caller.clone();
        let served = self.class(priority).callers.get_mut(&caller)?.waiting.pop_front()?;
        self.waiting -= 1;
        self.charge(Demand { caller: &caller, priority, tokens: served.tokens });
        Some(served.item)
    }

    /// Notes that a request was served without waiting.
    pub(crate) fn record_served(&mut self, demand: Demand<'_>) {
        self.class(demand.priority).flow(demand.caller);
        self.charge(demand);
    }

    /// Notes how many tokens a served request took in the end.
    pub(crate) fn settle(&mut self, demand: Demand<'_>, took: u32) {
        let (estimated, took) = (u64::from(demand.tokens), u64::from(took));
        let Some(class) = self.classes.get_mut(&demand.priority) else { return };
        let corrected = |start: u64, factor: u64| (start + took * factor).saturating_sub(estimated * factor);
        class.start = corrected(class.start, time_per_token(demand.priority));
        if let Some(flow) = class.callers.get_mut(demand.caller) {
            flow.start = corrected(flow.start, 1);
        }
    }

    fn charge(&mut self, served: Demand<'_>) {
        let tokens = u64::from(served.tokens);
        let Some(class) = self.classes.get_mut(&served.priority) else { return };
        self.now = self.now.max(class.start);
        class.start += tokens * time_per_token(served.priority);
        if let Some(flow) = class.callers.get_mut(served.caller) {
            class.now = class.now.max(flow.start);
            flow.start += tokens;
        }
        class.tidy();
    }

    fn class(&mut self, priority: Priority) -> &mut Class<T> {
        let class = self.classes.entry(priority).or_insert_with(Class::new);
        if !class.is_waiting() {
            class.start = class.start.max(self.now);
        }
        class
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Background, Interactive, Normal};

    /// Takes out everything, and says whose it was, one word for each.
    fn drain(queue: &mut FairQueue<String>) -> String {
        std::iter::from_fn(|| queue.next()).collect::<Vec<_>>().join(" ")
    }

    fn queue(pushes: &[(&str, Priority, u32)]) -> FairQueue<String> {
        let mut queue = FairQueue::default();
        for (number, (caller, priority, tokens)) in pushes.iter().enumerate() {
            let demand = Demand { caller, priority: *priority, tokens: *tokens };
            queue.push(demand, format!("{caller}{number}")).expect("room");
        }
        queue
    }

    fn normal(caller: &str, tokens: u32) -> Demand<'_> {
        Demand { caller, priority: Normal, tokens }
    }

    #[test]
    fn callers_take_turns_and_urgent_requests_go_first() {
        let cases: [(&[_], &str); 5] = [
            (&[("a", Normal, 9), ("a", Normal, 9), ("a", Normal, 9), ("b", Normal, 9)], "a0 b3 a1 a2"),
            (&[("a", Background, 9), ("b", Normal, 9), ("c", Interactive, 9)], "c2 b1 a0"),
            // Turns are of tokens, not of requests.
            (
                &[
                    ("a", Normal, 90),
                    ("a", Normal, 90),
                    ("b", Normal, 30),
                    ("b", Normal, 30),
                    ("b", Normal, 30),
                ],
                "a0 b2 b3 b4 a1",
            ),
            // One caller has one queue for each priority.
            (&[("a", Normal, 9), ("a", Interactive, 9), ("b", Normal, 9)], "a1 a0 b2"),
            (&[], ""),
        ];
        for (pushes, expected) in cases {
            assert_eq!(drain(&mut queue(pushes)), expected, "{pushes:?}");
        }
    }

    #[test]
    fn nobody_waits_behind_the_queue_of_another_however_long_that_has_waited() {
        let mut queue = queue(&[("greedy", Normal, 100); 40]);
        for _ in 0..10 {
            queue.next().expect("one of the greedy");
        }
        queue.push(normal("late", 100), "late".into()).expect("room");
        queue.push(normal("late", 100), "late".into()).expect("room");
        let order = drain(&mut queue);
        let places: Vec<_> = order.split(' ').enumerate().filter(|(_, name)| *name == "late").collect();
        assert_eq!(places.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 2], "{order}");
    }

    #[test]
    fn a_large_request_does_not_wait_behind_many_small_ones() {
        let mut queue = queue(&[("small", Normal, 10); 40]);
        queue.next().expect("a small one");
        queue.push(normal("large", 10_000), "large".into()).expect("room");
        assert!(drain(&mut queue).starts_with("large"));
    }

    #[test]
    fn turns_are_not_saved_up_by_asking_nothing() {
        let mut queue = FairQueue::default();
        queue.record_served(normal("once", 10));
        for _ in 0..100 {
            queue.record_served(normal("steady", 100));
        }
        for caller in ["once", "steady", "once", "steady", "once", "steady"] {
            queue.push(normal(caller, 100), caller.to_owned()).expect("room");
        }
        assert_eq!(drain(&mut queue), "once steady once steady once steady");
    }

    #[test]
    fn what_nobody_looks_at_is_served_too_while_urgent_requests_never_end() {
        let mut queue = queue(&[("a", Background, 100), ("a", Background, 100)]);
        let urgent = Demand { caller: "b", priority: Interactive, tokens: 100 };
        let mut order = String::new();
        for _ in 0..40 {
            queue.push(urgent, "b".into()).expect("room");
            order += &queue.next().expect("somebody")[..1];
        }
        let places: Vec<usize> = order.match_indices('a').map(|(place, _)| place).collect();
        assert_eq!(places, [1, 18], "{order}");
    }

    #[test]
    fn many_callers_of_one_priority_do_not_push_back_a_more_urgent_one() {
        let callers: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();
        let mut queue = FairQueue::default();
        for caller in &callers {
            queue.push(normal(caller, 100), "n".to_owned()).expect("room");
        }
        for _ in 0..8 {
            queue
                .push(Demand { caller: "i", priority: Interactive, tokens: 100 }, "i".to_owned())
                .expect("room");
        }
        assert!(drain(&mut queue).starts_with("i n i i i i n i i i n"), "four of five");
    }

    #[test]
    fn a_request_counts_what_it_took_and_not_what_it_wished() {
        let mut queue = FairQueue::default();
        queue.record_served(normal("modest", 4000));
        queue.record_served(normal("other", 100));
        queue.settle(normal("modest", 4000), 50);
        queue.push(normal("other", 100), "other".into()).expect("room");
        queue.push(normal("modest", 100), "modest".into()).expect("room");
        assert_eq!(drain(&mut queue), "modest other");
    }

    #[test]
    fn the_queue_is_bounded_for_each_and_for_all_and_forgets_who_left() {
        let mut queue = FairQueue::default();
        let greedy = |priority| Demand { caller: "greedy", priority, tokens: 1 };
        for number in 0..MOST_OF_ONE {
            let priority = if number % 2 == 0 { Interactive } else { Normal };
            queue.push(greedy(priority), ()).expect("room");
        }
        assert_eq!(queue.push(greedy(Background), ()), Err(QueueFull { waiting: MOST_OF_ONE }));
        let ticket = queue.push(normal("other", 1), ()).expect("room for others");
        queue.remove(ticket);
        assert_eq!(queue.len(), MOST_OF_ONE);
        assert!(!queue.classes[&Normal].callers.contains_key("other"), "nothing is kept of who left");
        for number in queue.len()..MOST {
            queue.push(normal(&number.to_string(), 1), ()).expect("room");
        }
        assert!(queue.push(normal("last", 1), ()).is_err());
    }
}
