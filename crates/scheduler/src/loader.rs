//! How a model is brought up: its turn, room for it, its engine. A task of its own, so that a client
//! that leaves takes nobody else's load with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::causes::every_cause;
use crate::engine::{Engine, EngineLauncher, LaunchError};
use crate::error::ScheduleError;
use crate::events::EventKind;
use crate::eviction::{Decision, LoadedModel, decide};
use crate::index::{Footprint, ModelIndex};
use crate::latency::LatencyEstimator;
use crate::memory::MemoryMonitor;
use crate::precedence::{Claims, OpenClaim};
use crate::registry::{Load, Registry, RunnerRef};
use crate::stop_reason::StopReason;

/// The largest models take minutes to read from a slow card. A little longer than the unit's own
/// limit, so that systemd gives up first and cleans up.
const LOAD_LIMIT: Duration = Duration::from_secs(930);

/// Brings models up, one at a time.
#[derive(Debug)]
pub(crate) struct Loader {
    pub(crate) index: Arc<ModelIndex>,
    pub(crate) latency: Arc<LatencyEstimator>,
    pub(crate) launcher: Arc<dyn EngineLauncher>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) memory: Arc<MemoryMonitor>,
    /// One model loads at a time: two at once would both believe in the same free memory.
    pub(crate) load_permit: Semaphore,
    /// The loads that wait for memory.
    pub(crate) claims: Arc<Claims>,
    /// The watchers of runners.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when nothing is loaded any more.
    pub(crate) closing: CancellationToken,
}

impl Loader {
    /// Loads `id` and tells everyone who waits.
    pub(crate) async fn bring_up(self: Arc<Self>, id: String, timeout: Duration, load: Arc<Load>) {
        let outcome = tokio::select! {
            outcome = self.load(&id, timeout, &load) => outcome,
            () = load.cancelled.cancelled() => {
                self.launcher.abort(&id).await;
                self.registry.publish(EventKind::Unloaded, &id, Some(&StopReason::Requested.to_string()));
                Some(Err(ScheduleError::Unloaded { id: id.clone() }))
            }
            () = self.closing.cancelled() => Some(Err(ScheduleError::ShuttingDown)),
        };
        // Nobody waits any more when there is no outcome; the load is taken out then.
        if let Some(outcome) = outcome {
            self.registry.finish(&id, &load, outcome);
        }
    }

    async fn load(
        &self,
        id: &str,
        timeout: Duration,
        load: &Load,
    ) -> Option<Result<RunnerRef, ScheduleError>> {
        let deadline = Instant::now() + timeout;
        let ready = tokio::select! {
            ready = self.prepare(id, load, deadline) => ready,
            () = self.abandoned(id, load) => return None,
        };
        match ready {
            // The permit is kept until the runner is registered.
            Ok((_permit, footprint)) => Some(self.launch(id, footprint).await),
            Err(error) => Some(Err(error)),
        }
    }

    /// Waits for the turn to load and for room. While requests of others use the room, others may load what fits.
    async fn prepare(
        &self,
        id: &str,
        load: &Load,
        deadline: Instant,
    ) -> Result<(SemaphorePermit<'_>, Footprint), ScheduleError> {
        let footprint = self.index.footprint(id).await?;
        load.bytes.store(footprint.counted_bytes, Ordering::Relaxed);
        let claim = self.claims.claim(footprint.counted_bytes);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(Ok(permit)) = tokio::time::timeout(left, self.load_permit.acquire()).await else {
                return Err(ScheduleError::LoadTimeout { id: id.to_owned() });
            };
            let changed = self.changed();
            if self.make_room(id, footprint.counted_bytes, &claim, deadline).await? {
                return Ok((permit, footprint));
            }
            drop(permit);
            self.wait(changed, id, footprint.counted_bytes, deadline).await?;
        }
    }

    /// Whether there is room now, or when what is idle has gone; else requests or older loads must end first.
    async fn make_room(
        &self,
        id: &str,
        needed_bytes: u64,
        claim: &OpenClaim,
        deadline: Instant,
    ) -> Result<bool, ScheduleError> {
        let budget_bytes = self.registry.limits().budget_bytes;
        loop {
            let changed = self.changed();
            let loaded = self.registry.loaded();
            let decision = decide(budget_bytes, id, needed_bytes, &loaded);
            let takes = matches!(decision, Decision::Load | Decision::Evict(_));
            if budget_bytes > 0 && takes && claim.must_yield(budget_bytes, &loaded) {
                return Ok(false);
            }
            match decision {
                Decision::Load => return Ok(true),
                Decision::Refuse => {
                    return Err(ScheduleError::TooLarge { id: id.to_owned(), needed_bytes, budget_bytes });
                }
                Decision::Evict(ids) => {
                    for evicted in ids {
                        tracing::info!(model = evicted, for_model = id, "unloading to make room");
                        self.registry.evict(&evicted, StopReason::Evicted { by: id.to_owned() });
                    }
                }
                Decision::Pinned => return Err(pinned_out(id, needed_bytes, budget_bytes, &loaded)),
                Decision::WaitForEnd => {}
                Decision::WaitForRequests => return Ok(false),
            }
            self.wait(changed, id, needed_bytes, deadline).await?;
        }
    }

    /// Ends when there may be more room than when this was called.
    fn changed(&self) -> impl Future<Output = ()> {
        let (room, claims) = (self.registry.changed(), self.claims.closed());
        async move {
            tokio::select! {
                () = room => {}
                () = claims => {}
            }
        }
    }

    async fn wait(
        &self,
        changed: impl Future<Output = ()>,
        id: &str,
        needed_bytes: u64,
        deadline: Instant,
    ) -> Result<(), ScheduleError> {
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::time::timeout(left, changed).await.map_err(|_| ScheduleError::NoRoom {
            id: id.to_owned(),
            needed_bytes,
            used_bytes: self.registry.used_bytes(),
            budget_bytes: self.registry.limits().budget_bytes,
        })
    }

    /// Ends when nobody waits for this load any more, and takes it out.
    async fn abandoned(&self, id: &str, load: &Load) {
        loop {
            load.outcome.closed().await;
            if self.registry.give_up(id, load) {
                return;
            }
        }
    }

    async fn launch(&self, id: &str, footprint: Footprint) -> Result<RunnerRef, ScheduleError> {
        let started = Instant::now();
        self.registry.publish(EventKind::Loading, id, None);
        let timeout = LaunchError::Timeout { minutes: LOAD_LIMIT.as_secs() / 60 };
        let launched = tokio::time::timeout(LOAD_LIMIT, self.launcher.start(id)).await;
        let engine = match launched.unwrap_or(Err(timeout)) {
            Ok(engine) => engine,
            Err(error) => {
                let reason = every_cause(&error);
                metrics::counter!("runner_load_failures_total", "model" => id.to_owned()).increment(1);
                tracing::error!(model = id, reason, "a model could not be loaded");
                self.registry.publish(EventKind::Crashed, id, Some(&reason));
                self.registry.record_failure(id, &reason);
                return Err(ScheduleError::LoadFailed { id: id.to_owned(), reason });
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        self.latency.record_load(id, started.elapsed());
        metrics::histogram!("runner_load_seconds").record(seconds);
        tracing::info!(model = id, seconds, bytes = footprint.counted_bytes, "loaded");
        self.registry.publish(EventKind::Loaded, id, None);
        Ok(self.register(id, engine, footprint))
    }

    /// Takes in an engine that has loaded, waits for its end, and measures it.
    fn register(&self, id: &str, engine: Engine, footprint: Footprint) -> RunnerRef {
        let runner = self.registry.insert(id, engine, footprint);
        let generation = runner.generation;
        let (registry, watched, mut ending) =
            (Arc::clone(&self.registry), id.to_owned(), runner.ending.clone());
        self.tasks.spawn(async move {
            let how = ending.wait().await;
            registry.record_end(&watched, generation, &how);
        });
        let (memory, measured, channel) = (Arc::clone(&self.memory), id.to_owned(), runner.channel.clone());
        self.tasks.spawn(async move { memory.measure(&measured, generation, channel).await });
        runner
    }
}

fn pinned_out(id: &str, needed_bytes: u64, budget_bytes: u64, loaded: &[LoadedModel]) -> ScheduleError {
    let pinned: Vec<&LoadedModel> = loaded.iter().filter(|model| model.pinned).collect();
    ScheduleError::Pinned {
        id: id.to_owned(),
        needed_bytes,
        pinned: pinned.iter().map(|model| model.id.clone()).collect(),
        left_bytes: budget_bytes.saturating_sub(total_bytes(pinned.into_iter())),
        budget_bytes,
    }
}

fn total_bytes<'a>(models: impl Iterator<Item = &'a LoadedModel>) -> u64 {
    models.map(|model| model.bytes).fold(0, u64::saturating_add)
}
