//! What is loaded or on its way in, and who uses it. Nothing here waits while it holds the lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::admission::AdmissionQueue;
use crate::circuit_breaker::CircuitBreaker;
use crate::engine::{Ending, Engine};
use crate::error::ScheduleError;
use crate::events::{EventKind, EventSink, ModelEvent};
use crate::eviction::LoadedModel;
use crate::index::Footprint;
use crate::request::{KeepAlive, RetentionPolicy};
use crate::runner::Runner;
use crate::stop_reason::StopReason;

/// How much may be loaded, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that loaded models may take together; 0 means no limit.
    pub budget_bytes: u64,
    /// How long an idle model stays loaded when neither a request nor the owner said so.
    pub keep_alive: Duration,
}

/// What is loaded or on its way in, and who uses it.
#[derive(Debug)]
pub(crate) struct Registry {
    limits: Limits,
    admission: Arc<AdmissionQueue>,
    events: Arc<dyn EventSink>,
    state: Mutex<State>,
    /// A request ended, a load ended, or a runner is gone.
    changed: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) runners: HashMap<String, Runner>,
    pub(crate) loads: HashMap<String, Arc<Load>>,
    pub(crate) breakers: HashMap<String, CircuitBreaker>,
    policies: HashMap<String, RetentionPolicy>,
    clock: u64,
}

/// A model on its way in.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Where those who wait for it hear what it came to.
    pub(crate) outcome: watch::Sender<Outcome>,
    /// Somebody asked for its end.
    pub(crate) cancelled: CancellationToken,
    /// Its settings were changed since it began.
    pub(crate) outdated: AtomicBool,
    /// What it will count in the budget; 0 until that is known.
    pub(crate) bytes: AtomicU64,
}

/// What a load came to. The reference keeps the new runner until everyone who waited has one.
pub(crate) type Outcome = Option<Result<Arc<RunnerRef>, ScheduleError>>;

/// How a request finds its model.
pub(crate) enum Entry {
    /// It is loaded.
    Loaded(RunnerRef),
    /// It is on its way in.
    Loading(watch::Receiver<Outcome>),
    /// It is not there; whoever has this begins the load.
    Absent(Arc<Load>, watch::Receiver<Outcome>),
}

/// A use of a runner, which stays loaded while this lives.
#[derive(Debug)]
pub(crate) struct RunnerRef {
    pub(crate) id: String,
    pub(crate) generation: u64,
    pub(crate) channel: Channel,
    pub(crate) ending: Ending,
    /// Why it was told to stop, if it was.
    pub(crate) stop_reason: Arc<OnceLock<StopReason>>,
    pub(crate) registry: Arc<Registry>,
    /// Whether a request uses it; a load has none of its own.
    serves: bool,
}

impl Registry {
    pub(crate) fn new(
        limits: Limits,
        admission: Arc<AdmissionQueue>,
        events: Arc<dyn EventSink>,
    ) -> Arc<Self> {
        Arc::new(Self { limits, admission, events, state: Mutex::default(), changed: Notify::new() })
    }

    /// What is loaded at this moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends at the next change after this call.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// How much may be loaded, and for how long.
    pub(crate) const fn limits(&self) -> Limits {
        self.limits
    }

    /// Says what happened to a model.
    pub(crate) fn publish(&self, kind: EventKind, model: &str, reason: Option<&str>) {
        self.events.publish(ModelEvent { kind, model, reason });
    }

    /// How a request finds this model. Fails while its circuit breaker is open.
    pub(crate) fn enter(self: &Arc<Self>, id: &str) -> Result<Entry, ScheduleError> {
        let mut state = self.lock();
        if let Some(runner) = self.acquire(&mut state, id) {
            return Ok(Entry::Loaded(runner));
        }
        if let Some(load) = state.loads.get(id) {
            return Ok(Entry::Loading(load.outcome.subscribe()));
        }
        if let Some((left, reason)) = state.breakers.get(id).and_then(|own| own.open(Instant::now())) {
            let seconds = left.as_secs() + 1;
            return Err(ScheduleError::CircuitOpen { id: id.to_owned(), seconds, reason: reason.to_owned() });
        }
        let load = Arc::<Load>::default();
        let outcome = load.outcome.subscribe();
        state.loads.insert(id.to_owned(), Arc::clone(&load));
        Ok(Entry::Absent(load, outcome))
    }

    /// A use of a runner that is up.
    pub(crate) fn use_loaded(self: &Arc<Self>, id: &str) -> Option<RunnerRef> {
        self.acquire(&mut self.lock(), id)
    }

    fn acquire(self: &Arc<Self>, state: &mut State, id: &str) -> Option<RunnerRef> {
        let clock = state.tick();
        let runner = state.runners.get_mut(id).filter(|runner| !runner.is_stopping())?;
        Some(self.reference(id, runner, clock))
    }

    fn reference(self: &Arc<Self>, id: &str, runner: &mut Runner, clock: u64) -> RunnerRef {
        runner.in_flight += 1;
        runner.last_used = clock;
        RunnerRef {
            id: id.to_owned(),
            generation: runner.generation,
            channel: runner.channel.clone(),
            ending: runner.process.ending(),
            stop_reason: Arc::clone(&runner.stop_reason),
            registry: Arc::clone(self),
            serves: false,
        }
    }

    /// Takes in an engine that has loaded.
    pub(crate) fn insert(self: &Arc<Self>, id: &str, engine: Engine, footprint: Footprint) -> RunnerRef {
        let mut state = self.lock();
        let mut runner = Runner::new(engine, footprint, state.tick());
        runner.outdated = state.loads.get(id).is_some_and(|load| load.outdated.load(Ordering::Relaxed));
        let reference = self.reference(id, &mut runner, state.tick());
        state.runners.insert(id.to_owned(), runner);
        state.record_gauges();
        reference
    }

    /// Takes a load out and tells those who wait what it came to.
    pub(crate) fn finish(&self, id: &str, load: &Load, outcome: Result<RunnerRef, ScheduleError>) {
        self.lock().loads.remove(id);
        load.outcome.send_replace(Some(outcome.map(Arc::new)));
        self.changed.notify_waiters();
    }

    /// Takes a load out if nobody waits for it any more. Returns whether it did.
    pub(crate) fn give_up(&self, id: &str, load: &Load) -> bool {
        let mut state = self.lock();
        // Whoever subscribes does so under the same lock.
        let abandoned = load.outcome.receiver_count() == 0;
        if abandoned {
            state.loads.remove(id);
        }
        abandoned
    }

    /// Notes that a model answered well.
    pub(crate) fn record_success(&self, id: &str) {
        self.lock().breakers.remove(id);
    }

    /// Notes that a model could not be loaded.
    pub(crate) fn record_failure(&self, id: &str, reason: &str) {
        self.lock().breakers.entry(id.to_owned()).or_default().record_failure(reason, Instant::now());
    }

    /// Stops a runner that lives and does not answer; its end counts as a crash.
    pub(crate) fn mark_unhealthy(&self, id: &str, generation: u64, reason: &str) {
        let mut state = self.lock();
        if let Some(runner) = state.runners.get_mut(id).filter(|runner| runner.generation == generation) {
            runner.stop(StopReason::Unhealthy(reason.to_owned()));
        }
    }

    /// Notes that a runner is gone.
    pub(crate) fn record_end(&self, id: &str, generation: u64, how: &str) {
        let mut state = self.lock();
        if state.runners.get(id).is_some_and(|runner| runner.generation == generation)
            && let Some(runner) = state.runners.remove(id)
        {
            match runner.stop_reason.get() {
                None => self.record_crash(&mut state, id, how),
                Some(StopReason::Unhealthy(reason)) => self.record_crash(&mut state, id, reason),
                Some(why) => {
                    tracing::info!(model = id, %why, "unloaded");
                    self.publish(EventKind::Unloaded, id, Some(&why.to_string()));
                }
            }
        }
        state.record_gauges();
        drop(state);
        self.changed.notify_waiters();
    }

    fn record_crash(&self, state: &mut State, id: &str, reason: &str) {
        let breaker = state.breakers.entry(id.to_owned()).or_default();
        breaker.record_failure(reason, Instant::now());
        metrics::counter!("runner_crashes_total", "model" => id.to_owned()).increment(1);
        tracing::error!(model = id, reason, "a runner died");
        self.publish(EventKind::Crashed, id, Some(reason));
        if breaker.open(Instant::now()).is_some() {
            self.publish(EventKind::CircuitOpened, id, Some(reason));
        }
    }

    /// Takes over what the owner chose for each model.
    pub(crate) fn set_policies(&self, policies: HashMap<String, RetentionPolicy>) {
        self.lock().policies = policies;
        self.changed.notify_waiters();
    }

    /// How long a model stays when idle.
    pub(crate) fn keep_alive(&self, state: &State, id: &str, runner: &Runner) -> KeepAlive {
        runner.keep_alive(state.policy(id), self.limits.keep_alive)
    }

    /// Tells a model's runner to stop, and its load to end. Fails when requests use it or wait for it, unless `force`.
    pub(crate) fn unload(&self, id: &str, force: bool) -> Result<(), ScheduleError> {
        let mut state = self.lock();
        let waiting = state.loads.get(id).map_or(0, |load| load.outcome.receiver_count());
        let using = state.runners.get(id).map_or(0, |runner| runner.in_flight);
        let requests = waiting + using;
        if requests > 0 && !force {
            return Err(ScheduleError::InUse { id: id.to_owned(), requests });
        }
        if let Some(load) = state.loads.get(id) {
            load.cancelled.cancel();
        }
        if let Some(runner) = state.runners.get_mut(id) {
            runner.stop(StopReason::Requested);
        }
        Ok(())
    }

    /// Has a model loaded anew by the next request: its runner stops now, or as soon as nobody uses it. Returns whether
    /// that is now.
    pub(crate) fn renew(&self, id: &str) -> bool {
        let mut state = self.lock();
        if let Some(load) = state.loads.get(id) {
            load.outdated.store(true, Ordering::Relaxed);
            return false;
        }
        let Some(runner) = state.runners.get_mut(id).filter(|runner| !runner.is_stopping()) else {
            return true;
        };
        runner.outdated = true;
        if runner.is_idle() {
            runner.stop(StopReason::Changed);
        }
        runner.is_stopping()
    }

    /// Stops what has been idle for longer than it is kept.
    pub(crate) fn unload_idle(&self) {
        let mut state = self.lock();
        let expired = |(id, runner): (&String, &Runner)| {
            let over = match self.keep_alive(&state, id, runner) {
                KeepAlive::For(time) => runner.idle_since.elapsed() >= time,
                KeepAlive::Forever => false,
            };
            (over && runner.is_idle()).then(|| id.clone())
        };
        let expired: Vec<String> = state.runners.iter().filter_map(expired).collect();
        for id in expired {
            if let Some(runner) = state.runners.get_mut(&id) {
                runner.stop(StopReason::Idle);
            }
        }
    }

    /// Stops a runner if it is idle.
    pub(crate) fn evict(&self, id: &str, why: StopReason) {
        let mut state = self.lock();
        if let Some(runner) = state.runners.get_mut(id).filter(|runner| runner.is_idle()) {
            runner.stop(why);
            metrics::counter!("runner_evictions_total").increment(1);
        }
    }

    /// Stops every runner.
    pub(crate) fn stop_all(&self, why: &StopReason) {
        for runner in self.lock().runners.values_mut() {
            runner.stop(why.clone());
        }
    }

    /// Everything loaded, as a decision about memory sees it.
    pub(crate) fn loaded(&self) -> Vec<LoadedModel> {
        let state = self.lock();
        state.runners.iter().map(|(id, runner)| runner.snapshot(id, state.policy(id))).collect()
    }

    /// Bytes that everything loaded counts in the budget.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.lock().runners.values().map(|runner| runner.bytes).fold(0, u64::saturating_add)
    }

    /// Waits until something holds, for so long at most.
    pub(crate) async fn wait_until(&self, limit: Duration, holds: impl Fn(&State) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed();
                if holds(&self.lock()) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(limit, wait).await.is_err() {
            tracing::warn!(limit_s = limit.as_secs(), "runners were still in use or alive");
        }
    }
}

impl State {
    /// What the owner chose for a model.
    pub(crate) fn policy(&self, id: &str) -> RetentionPolicy {
        self.policies.get(id).copied().unwrap_or_default()
    }

    /// Gauges of what is loaded.
    pub(crate) fn record_gauges(&self) {
        metrics::gauge!("runners_loaded").set(self.runners.len() as f64);
        let bytes = self.runners.values().map(|runner| runner.bytes).fold(0, u64::saturating_add);
        metrics::gauge!("runners_estimated_bytes").set(bytes as f64);
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl RunnerRef {
    /// Says that a request uses it now, which may want it to stay for so long.
    pub(crate) fn serve(&mut self, keep_alive: Option<KeepAlive>) {
        self.serves = true;
        let mut state = self.registry.lock();
        let runner = state.runners.get_mut(&self.id);
        if let Some(runner) = runner.filter(|runner| runner.generation == self.generation) {
            runner.keep_alive = keep_alive;
        }
    }
}

impl Drop for RunnerRef {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        if let Some(runner) = state.runners.get_mut(&self.id)
            && runner.generation == self.generation
        {
            runner.in_flight = runner.in_flight.saturating_sub(1);
            runner.idle_since = Instant::now();
        }
        if let Some(runner) =
            state.runners.get_mut(&self.id).filter(|runner| runner.outdated && runner.is_idle())
        {
            runner.stop(StopReason::Changed);
        }
        // One that is not to be kept goes at once, unless others are about to use it.
        let unwanted = state.runners.get(&self.id).is_some_and(|runner| {
            let leaves = self.registry.keep_alive(&state, &self.id, runner) == KeepAlive::For(Duration::ZERO);
            leaves && runner.in_flight == 0 && self.serves && self.registry.admission.waiting(&self.id) == 0
        });
        if unwanted && let Some(runner) = state.runners.get_mut(&self.id) {
            runner.stop(StopReason::Idle);
        }
        drop(state);
        self.registry.changed.notify_waiters();
    }
}
