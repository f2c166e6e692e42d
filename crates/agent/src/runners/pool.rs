//! The loaded models and who uses them: the books. `load` brings models up.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use actionbooster_scheduler::{
    CircuitBreaker, EngineLauncher, KeepAlive, LatencyEstimator, LeaseRequest, ModelIndex, Process,
    RetentionPolicy, ScheduleError,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tracing::Instrument;

use super::budget::Loaded;
use super::lease::Lease;
use super::line::Lines;
use super::stop::Stop;
use crate::events::Events;

/// How long requests in flight may take when the agent ends.
const DRAIN: Duration = Duration::from_secs(10);
/// How long runners may then take to be gone; longer than they need until they are killed.
const STOP: Duration = Duration::from_secs(9);

/// State of a model as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Idle,
    Loading,
    Ready,
    Failed,
}

#[derive(Debug)]
pub(super) struct Runner {
    pub(super) process: Process,
    pub(super) channel: Channel,
    /// What it counts in the budget.
    pub(super) bytes: u64,
    /// What it should take by its file's head alone.
    pub(super) reckoned: u64,
    pub(super) in_flight: usize,
    pub(super) last_used: u64,
    pub(super) idle_since: Instant,
    /// Tells this runner from a later one of the same model.
    pub(super) generation: u64,
    /// Why it was told to stop, if it was; it stays in the books until it is gone, so that its memory counts.
    pub(super) stopping: Arc<OnceLock<Stop>>,
    /// What the last request wished.
    pub(super) keep_alive: Option<KeepAlive>,
    /// Resident memory in bytes, when last measured.
    pub(super) resident: Option<u64>,
}

impl Runner {
    /// Tells it to stop; the first reason counts.
    pub(super) fn stop(&mut self, why: Stop) {
        self.stopping.get_or_init(|| why);
        self.process.stop();
    }

    /// Whether it may be taken from memory: nobody uses it, and it is not on its way out.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && !self.is_stopping()
    }

    /// Whether it is on its way out.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get().is_some()
    }
}

/// A model on its way in.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Where those who wait for it hear what it came to.
    pub(super) outcome: watch::Sender<Outcome>,
    /// Somebody asked for its end.
    pub(super) stop: CancellationToken,
    /// What it will count in the budget; 0 until that is known.
    pub(super) bytes: AtomicU64,
}

/// What a load came to. The lease keeps the new runner until everyone who waited has one.
pub(super) type Outcome = Option<Result<Arc<Lease>, ScheduleError>>;

#[derive(Debug, Default)]
pub(super) struct Inside {
    pub(super) runners: HashMap<String, Runner>,
    pub(super) loads: HashMap<String, Arc<Load>>,
    pub(super) failures: HashMap<String, CircuitBreaker>,
    pub(super) wishes: HashMap<String, RetentionPolicy>,
    clock: u64,
}

/// What the pool reads and writes besides its own books.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) index: Arc<ModelIndex>,
    pub(crate) latency: Arc<LatencyEstimator>,
    pub(crate) events: Arc<Events>,
}

/// The loaded models.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(super) books: Books,
    pub(super) launcher: Arc<dyn EngineLauncher>,
    pub(super) budget: u64,
    keep_alive: Duration,
    pub(super) lines: Arc<Lines>,
    pub(super) inside: Mutex<Inside>,
    /// A request ended or a runner is gone.
    pub(super) changed: Notify,
    /// One model loads at a time: two at once would both believe in the same free memory.
    pub(super) turn: Semaphore,
    /// Loads and the watchers of runners.
    pub(super) tasks: TaskTracker,
    pub(super) closing: CancellationToken,
}

enum Entry {
    Ready(Box<Lease>),
    Loading(watch::Receiver<Outcome>),
}

impl Pool {
    pub(crate) fn new(
        books: Books,
        launcher: Arc<dyn EngineLauncher>,
        budget: u64,
        keep_alive: Duration,
    ) -> Arc<Self> {
        let lines = Lines::new(books.index.slots());
        Arc::new(Self {
            books,
            launcher,
            budget,
            keep_alive,
            lines,
            inside: Mutex::default(),
            changed: Notify::new(),
            turn: Semaphore::new(1),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        })
    }

    /// A lease of this model, loading it if need be. All who ask while it loads share that load.
    ///
    /// First it waits for its turn among those who want this model. The patience bounds the wait for memory
    /// and for other loads, not that, nor the load itself.
    pub(crate) async fn lease(self: &Arc<Self>, want: &LeaseRequest) -> Result<Lease, ScheduleError> {
        // Names that do not exist must not make lines.
        self.books.index.find(&want.model).await?;
        let turn = tokio::select! {
            turn = self.lines.turn(want) => turn,
            () = self.closing.cancelled() => Err(ScheduleError::ShuttingDown),
        };
        if let Err(ScheduleError::QueueFull { id, .. }) = &turn {
            metrics::counter!("model_queue_refusals_total", "model" => id.clone()).increment(1);
            self.tell("queue.full", id, None);
        }
        let mut turn = turn?;
        let mut lease = self.loaded_lease(&want.model, want.load_timeout).await?;
        turn.begins();
        lease.turn = Some(turn);
        let mut inside = lock(&self.inside);
        let runner = inside.runners.get_mut(&want.model);
        if let Some(runner) = runner.filter(|runner| runner.generation == lease.generation) {
            runner.keep_alive = want.keep_alive;
        }
        drop(inside);
        Ok(lease)
    }

    async fn loaded_lease(self: &Arc<Self>, id: &str, patience: Duration) -> Result<Lease, ScheduleError> {
        let mut outcome = match self.enter(id, patience)? {
            Entry::Ready(lease) => return Ok(*lease),
            Entry::Loading(outcome) => outcome,
        };
        let Ok(outcome) = outcome.wait_for(Option::is_some).await else {
            return Err(ScheduleError::ShuttingDown);
        };
        if let Some(Err(error)) = outcome.as_ref() {
            return Err(error.clone());
        }
        let lease = self.take(&mut lock(&self.inside), id);
        lease
            .ok_or_else(|| ScheduleError::LoadFailed { id: id.to_owned(), reason: "it ended at once".into() })
    }

    fn enter(self: &Arc<Self>, id: &str, patience: Duration) -> Result<Entry, ScheduleError> {
        if self.closing.is_cancelled() {
            return Err(ScheduleError::ShuttingDown);
        }
        let mut inside = lock(&self.inside);
        if let Some(lease) = self.take(&mut inside, id) {
            return Ok(Entry::Ready(Box::new(lease)));
        }
        if let Some(load) = inside.loads.get(id) {
            return Ok(Entry::Loading(load.outcome.subscribe()));
        }
        if let Some((left, reason)) = inside.failures.get(id).and_then(|own| own.open(Instant::now())) {
            let seconds = left.as_secs() + 1;
            return Err(ScheduleError::CircuitOpen { id: id.to_owned(), seconds, reason: reason.to_owned() });
        }
        let load = Arc::<Load>::default();
        let outcome = load.outcome.subscribe();
        inside.loads.insert(id.to_owned(), Arc::clone(&load));
        drop(inside);
        let load = Arc::clone(self).bring_up(id.to_owned(), patience, load);
        self.tasks.spawn(load.instrument(tracing::Span::current()));
        Ok(Entry::Loading(outcome))
    }

    /// A lease of a runner that is up.
    pub(super) fn take(self: &Arc<Self>, inside: &mut Inside, id: &str) -> Option<Lease> {
        let clock = inside.tick();
        let runner = inside.runners.get_mut(id).filter(|runner| !runner.is_stopping())?;
        runner.in_flight += 1;
        runner.last_used = clock;
        Some(Lease {
            id: id.to_owned(),
            generation: runner.generation,
            channel: runner.channel.clone(),
            ending: runner.process.ending(),
            stopping: Arc::clone(&runner.stopping),
            pool: Arc::clone(self),
            turn: None,
        })
    }

    /// Notes that a request ended well.
    pub(crate) fn worked(&self, id: &str) {
        lock(&self.inside).failures.remove(id);
    }

    /// Stops a runner that lives and does not answer; its end counts as a crash.
    pub(super) fn condemn(&self, id: &str, generation: u64, reason: &str) {
        let mut inside = lock(&self.inside);
        if let Some(runner) = inside.runners.get_mut(id).filter(|runner| runner.generation == generation) {
            runner.stop(Stop::Condemned(reason.to_owned()));
        }
    }

    /// Notes that a runner is gone.
    pub(super) fn gone(&self, id: &str, generation: u64, how: &str) {
        let mut inside = lock(&self.inside);
        if inside.runners.get(id).is_some_and(|runner| runner.generation == generation)
            && let Some(runner) = inside.runners.remove(id)
        {
            match runner.stopping.get() {
                None => self.crashed(&mut inside, id, how),
                Some(Stop::Condemned(reason)) => self.crashed(&mut inside, id, reason),
                Some(why) => {
                    tracing::info!(model = id, %why, "unloaded");
                    self.tell("model.unloaded", id, Some(&why.to_string()));
                }
            }
        }
        inside.publish();
        drop(inside);
        self.changed.notify_waiters();
    }

    fn crashed(&self, inside: &mut Inside, id: &str, reason: &str) {
        let failures = inside.failures.entry(id.to_owned()).or_default();
        failures.record_failure(reason, Instant::now());
        metrics::counter!("runner_crashes_total", "model" => id.to_owned()).increment(1);
        tracing::error!(model = id, reason, "a runner died");
        self.tell("model.crashed", id, Some(reason));
        if failures.open(Instant::now()).is_some() {
            self.tell("model.quarantined", id, Some(reason));
        }
    }

    /// The state of every model that is not idle, with the reason of one that failed.
    pub(crate) fn states(&self) -> BTreeMap<String, (State, Option<String>)> {
        let inside = lock(&self.inside);
        let now = Instant::now();
        let mut states: BTreeMap<_, _> = inside
            .failures
            .iter()
            .filter_map(|(id, failures)| Some((id, failures.open(now)?.1)))
            .map(|(id, reason)| (id.clone(), (State::Failed, Some(reason.to_owned()))))
            .collect();
        let up = inside.runners.iter().filter(|(_, runner)| !runner.is_stopping());
        states.extend(up.map(|(id, _)| (id.clone(), (State::Ready, None))));
        states.extend(inside.loads.keys().map(|id| (id.clone(), (State::Loading, None))));
        states
    }

    /// Whether a model of so many bytes fits when nothing else is loaded.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        self.budget == 0 || bytes <= self.budget
    }

    /// When a loaded model is unloaded if nobody asks it again.
    pub(crate) fn expires(&self, id: &str) -> Option<Timestamp> {
        let inside = lock(&self.inside);
        self.expires_of(&inside, id, inside.runners.get(id)?)
    }

    pub(super) fn expires_of(&self, inside: &Inside, id: &str, runner: &Runner) -> Option<Timestamp> {
        let idle = if runner.in_flight == 0 { runner.idle_since.elapsed() } else { Duration::ZERO };
        match self.stays(inside, id, runner) {
            KeepAlive::For(time) => Timestamp::now().checked_add(time.saturating_sub(idle)).ok(),
            KeepAlive::Forever => None,
        }
    }

    /// How long a model stays when idle: as pinned, as the last request wished, as the owner chose, as usual.
    pub(super) fn stays(&self, inside: &Inside, id: &str, runner: &Runner) -> KeepAlive {
        let wishes = inside.wishes.get(id).copied().unwrap_or_default();
        if wishes.pinned {
            return KeepAlive::Forever;
        }
        runner.keep_alive.or(wishes.keep_alive).unwrap_or(KeepAlive::For(self.keep_alive))
    }

    /// Takes over what the owner wishes for each model.
    pub(crate) fn set_retention_policies(&self, wishes: HashMap<String, RetentionPolicy>) {
        lock(&self.inside).wishes = wishes;
        self.changed.notify_waiters();
    }

    /// Unloads a model now, also one that still loads; what uses it or waits for it is stopped only when `force`.
    pub(crate) fn unload(&self, id: &str, force: bool) -> Result<(), ScheduleError> {
        let mut inside = lock(&self.inside);
        let waiting = inside.loads.get(id).map_or(0, |load| load.outcome.receiver_count());
        let using = inside.runners.get(id).map_or(0, |runner| runner.in_flight);
        let requests = waiting + using;
        if requests > 0 && !force {
            return Err(ScheduleError::InUse { id: id.to_owned(), requests });
        }
        if let Some(load) = inside.loads.get(id) {
            load.stop.cancel();
        }
        if let Some(runner) = inside.runners.get_mut(id) {
            runner.stop(Stop::Asked);
        }
        Ok(())
    }

    /// Waits until a model's runner is gone, for a while.
    pub(crate) async fn wait_gone(&self, id: &str) {
        self.wait_until(STOP, |inside| !inside.runners.contains_key(id) && !inside.loads.contains_key(id))
            .await;
    }

    /// Cancelled when the agent ends.
    pub(crate) const fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    pub(super) fn tell(&self, kind: &'static str, model: &str, reason: Option<&str>) {
        let about = match reason {
            Some(reason) => json!({"model": model, "reason": reason}),
            None => json!({"model": model}),
        };
        self.books.events.tell(kind, about);
    }

    /// Stops what has been idle for longer than it is kept.
    pub(crate) fn unload_idle(&self) {
        let mut inside = lock(&self.inside);
        let expired = |(id, runner): (&String, &Runner)| {
            let over = match self.stays(&inside, id, runner) {
                KeepAlive::For(time) => runner.idle_since.elapsed() >= time,
                KeepAlive::Forever => false,
            };
            (over && runner.is_idle()).then(|| id.clone())
        };
        let expired: Vec<String> = inside.runners.iter().filter_map(expired).collect();
        for id in expired {
            if let Some(runner) = inside.runners.get_mut(&id) {
                runner.stop(Stop::Idle);
            }
        }
    }

    /// Stops a runner if it is idle.
    pub(super) fn evict(&self, id: &str, why: Stop) {
        let mut inside = lock(&self.inside);
        if let Some(runner) = inside.runners.get_mut(id).filter(|runner| runner.is_idle()) {
            runner.stop(why);
            metrics::counter!("runner_evictions_total").increment(1);
        }
    }

    /// Lets requests in flight end, within limits, then stops every runner.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.wait_until(DRAIN, |inside| inside.runners.values().all(|runner| runner.in_flight == 0)).await;
        for runner in lock(&self.inside).runners.values_mut() {
            runner.stop(Stop::Closing);
        }
        self.wait_until(STOP, |inside| inside.runners.is_empty()).await;
        // A unit whose load was given up a moment ago is in no book.
        if let Err(error) = self.launcher.clear_leftovers().await {
            tracing::warn!("runners may be left: {:#}", anyhow::Error::from(error));
        }
        self.tasks.close();
        if tokio::time::timeout(STOP, self.tasks.wait()).await.is_err() {
            tracing::warn!("runners were still ending when the agent ended");
        }
    }

    async fn wait_until(&self, limit: Duration, holds: impl Fn(&Inside) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(&lock(&self.inside)) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(limit, wait).await.is_err() {
            tracing::warn!(limit_s = limit.as_secs(), "runners were still in use or alive");
        }
    }

    pub(super) fn loaded(&self) -> Vec<Loaded> {
        let inside = lock(&self.inside);
        let seen = |(id, runner): (&String, &Runner)| Loaded {
            id: id.clone(),
            bytes: runner.bytes,
            in_flight: runner.in_flight,
            last_used: runner.last_used,
            stopping: runner.is_stopping(),
            pinned: inside.wishes.get(id).is_some_and(|wishes| wishes.pinned),
        };
        inside.runners.iter().map(seen).collect()
    }
}

impl Inside {
    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Gauges of what is loaded.
    pub(super) fn publish(&self) {
        metrics::gauge!("runners_loaded").set(self.runners.len() as f64);
        let bytes = self.runners.values().map(|runner| runner.bytes).fold(0, u64::saturating_add);
        metrics::gauge!("runners_estimated_bytes").set(bytes as f64);
    }
}

pub(super) fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}
