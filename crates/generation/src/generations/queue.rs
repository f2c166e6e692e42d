//! The generations that wait, run or ended: one at a time, and a bounded number of each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::principal::Principal;
use super::job::{Job, Status, Stopped, Wanted};

/// Generations that may wait.
pub const MOST_WAITING: usize = 16;
/// Generations that are remembered after they ended.
const MOST_ENDED: usize = 100;

/// A queue of generations, each with the work `W` that it means.
#[derive(Debug)]
pub(super) struct Queue<W> {
    inside: Mutex<Inside<W>>,
    /// Told when there is something to do.
    added: Notify,
    /// Cancelled when the agent ends, and every generation with it.
    pub(super) stop: CancellationToken,
}

#[derive(Debug)]
struct Inside<W> {
    waiting: VecDeque<(Arc<Job>, W)>,
    /// All of them, oldest first.
    known: VecDeque<Arc<Job>>,
}

impl<W> Queue<W> {
    pub(super) fn new(stop: CancellationToken) -> Self {
        let inside = Inside { waiting: VecDeque::new(), known: VecDeque::new() };
        Self { inside: Mutex::new(inside), added: Notify::new(), stop }
    }

    /// Adds a generation; `None` when too many wait.
    pub(super) fn add(&self, wanted: Wanted, principal: &Principal, work: W) -> Option<Arc<Job>> {
        let mut inside = self.inside();
        if inside.waiting.len() >= MOST_WAITING {
            return None;
        }
        let job = Arc::new(Job::new(wanted, principal.clone(), &self.stop));
        inside.waiting.push_back((Arc::clone(&job), work));
        inside.known.push_back(Arc::clone(&job));
        inside.forget();
        drop(inside);
        self.added.notify_one();
        Some(job)
    }

    /// The next to be done, marked as begun; `None` when the agent ends.
    pub(super) async fn next(&self) -> Option<(Arc<Job>, W)> {
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            if let Some((job, work)) = self.inside().waiting.pop_front() {
                job.begin();
                return Some((job, work));
            }
            self.stop.run_until_cancelled(self.added.notified()).await?;
        }
    }

    /// Cancels a generation of this principal: at once while it waits, else as soon as it notices.
    pub(super) fn cancel(&self, principal: &Principal, id: &str) -> Option<Arc<Job>> {
        let mut inside = self.inside();
        let job = Arc::clone(inside.find(principal, id)?);
        job.cancel.cancel();
        if let Some(at) = inside.waiting.iter().position(|(waiting, _)| waiting.id == id) {
            inside.waiting.remove(at);
            job.end(Err(Stopped::Cancelled));
        }
        Some(job)
    }

    /// One of this principal with its place among those that wait.
    pub(super) fn get(&self, principal: &Principal, id: &str) -> Option<(Arc<Job>, Option<usize>)> {
        let inside = self.inside();
        let job = inside.find(principal, id)?;
        Some((Arc::clone(job), inside.place(id)))
    }

    /// All of this principal, newest first.
    pub(super) fn all(&self, principal: &Principal) -> Vec<(Arc<Job>, Option<usize>)> {
        let inside = self.inside();
        let own = inside.known.iter().rev().filter(|job| principal.may_use(job.principal.as_owner()));
        own.map(|job| (Arc::clone(job), inside.place(&job.id))).collect()
    }

    fn inside(&self) -> MutexGuard<'_, Inside<W>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Inside<W> {
    fn find(&self, principal: &Principal, id: &str) -> Option<&Arc<Job>> {
        self.known.iter().find(|job| job.id == id && principal.may_use(job.principal.as_owner()))
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.waiting.iter().position(|(job, _)| job.id == id).map(|at| at + 1)
    }

    /// Forgets the oldest of those that ended, when there are too many.
    fn forget(&mut self) {
        let ended = |job: &Arc<Job>| !matches!(job.status(), Status::Queued | Status::Running);
        let mut surplus = self.known.iter().filter(|job| ended(job)).count().saturating_sub(MOST_ENDED);
        self.known.retain(|job| {
            let goes = surplus > 0 && ended(job);
            surplus -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Principal = Principal::OWNER;

    #[tokio::test]
    async fn they_are_done_in_order_and_only_so_many_wait() {
        let queue = Queue::new(CancellationToken::new());
        let jobs: Vec<Arc<Job>> =
            (0..MOST_WAITING).map(|number| queue.add(Wanted::Image, &OWNER, number).expect("room")).collect();
        assert!(queue.add(Wanted::Image, &OWNER, 99).is_none(), "full");
        let (first, number) = queue.next().await.expect("the first");
        assert_eq!((&first.id, number, first.status()), (&jobs[0].id, 0, Status::Running));
        assert_eq!(queue.get(&OWNER, &jobs[1].id).and_then(|(_, place)| place), Some(1));
        assert_eq!(queue.get(&OWNER, &jobs[0].id).and_then(|(_, place)| place), None);
        // A place is free again, and cancelling makes another.
        assert!(queue.add(Wanted::Image, &OWNER, 99).is_some());
        let cancelled = queue.cancel(&OWNER, &jobs[1].id).expect("known");
        assert_eq!((cancelled.status(), cancelled.ended.is_cancelled()), (Status::Cancelled, true));
        assert!(queue.add(Wanted::Image, &OWNER, 100).is_some());
        assert_eq!(queue.next().await.map(|(_, number)| number), Some(2));
        // One that runs is only asked to stop.
        assert_eq!(queue.cancel(&OWNER, &first.id).map(|job| job.status()), Some(Status::Running));
        assert!(first.cancel.is_cancelled() && queue.cancel(&OWNER, "g-0").is_none());
    }

    #[test]
    fn a_key_sees_and_cancels_its_own_only() {
        let queue = Queue::new(CancellationToken::new());
        let (own, other) = (Principal::key("a", false), Principal::key("b", false));
        let job = queue.add(Wanted::Image, &own, ()).expect("room");
        assert!(queue.get(&other, &job.id).is_none() && queue.all(&other).is_empty());
        assert!(queue.cancel(&other, &job.id).is_none());
        assert_eq!(job.status(), Status::Queued);
        assert_eq!((queue.all(&own).len(), queue.all(&OWNER).len()), (1, 1));
        assert!(queue.cancel(&own, &job.id).is_some());
    }

    #[tokio::test]
    async fn ended_ones_are_remembered_up_to_a_number() {
        let queue = Queue::new(CancellationToken::new());
        let running = queue.add(Wanted::Video, &OWNER, ()).expect("room");
        queue.next().await.expect("begun");
        for _ in 0..MOST_ENDED + 10 {
            let job = queue.add(Wanted::Image, &OWNER, ()).expect("room");
            queue.next().await.expect("begun");
            job.end(Ok(()));
        }
        let all = queue.all(&OWNER);
        assert_eq!(all.last().map(|(job, _)| &job.id), Some(&running.id), "what runs is never forgotten");
        assert!(all.len() <= MOST_ENDED + 2, "{}", all.len());
    }

    #[tokio::test]
    async fn the_end_of_the_agent_ends_the_wait() {
        let queue = Queue::<()>::new(CancellationToken::new());
        queue.stop.cancel();
        assert!(queue.next().await.is_none());
    }
}
