//! The scheduler: leases of models, and what the owner may do with those that are loaded.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::admission::AdmissionQueue;
use crate::causes::every_cause;
use crate::engine::EngineLauncher;
use crate::error::ScheduleError;
use crate::events::{EventKind, EventSink};
use crate::index::ModelIndex;
use crate::latency::LatencyEstimator;
use crate::lease::Lease;
use crate::loader::Loader;
use crate::memory::MemoryMonitor;
use crate::registry::{Entry, Limits, Registry, RunnerRef, State};
use crate::report::{self, ModelState, RunningModel};
use crate::request::{LeaseRequest, RetentionPolicy};
use crate::stop_reason::StopReason;

/// How long requests in flight may take at the end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long runners may then take to be gone; longer than they need until they are killed.
const STOP: Duration = Duration::from_secs(9);

/// What the scheduler works with.
#[derive(Debug)]
pub struct Dependencies {
    /// The models there are.
    pub index: Arc<ModelIndex>,
    /// Hears how long loads take.
    pub latency: Arc<LatencyEstimator>,
    /// Starts engines.
    pub launcher: Arc<dyn EngineLauncher>,
    /// Hears what happens to models.
    pub events: Arc<dyn EventSink>,
}

/// Decides which models are loaded, and who may use them.
#[derive(Debug)]
pub struct Scheduler {
    index: Arc<ModelIndex>,
    launcher: Arc<dyn EngineLauncher>,
    admission: Arc<AdmissionQueue>,
    registry: Arc<Registry>,
    memory: Arc<MemoryMonitor>,
    loader: Arc<Loader>,
    /// Loads and the watchers of runners.
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Scheduler {
    /// A scheduler that has loaded nothing yet.
    pub fn new(dependencies: Dependencies, limits: Limits) -> Arc<Self> {
        let Dependencies { index, latency, launcher, events } = dependencies;
        let admission = AdmissionQueue::new(index.slots());
        let registry = Registry::new(limits, Arc::clone(&admission), events);
        let memory = MemoryMonitor::new(Arc::clone(&index), Arc::clone(&registry));
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let loader = Arc::new(Loader {
            index: Arc::clone(&index),
            latency,
            launcher: Arc::clone(&launcher),
            registry: Arc::clone(&registry),
            memory: Arc::clone(&memory),
            load_permit: Semaphore::new(1),
            claims: Arc::default(),
            tasks: tasks.clone(),
            closing: closing.clone(),
        });
        Arc::new(Self { index, launcher, admission, registry, memory, loader, tasks, closing })
    }

    /// A lease of this model, loading it if need be. All who ask while it loads share that load.
    ///
    /// First it waits for its turn among those who want this model. The timeout of the request bounds the wait for
    /// memory and for other loads, not that, nor the load itself. Fails as [`ScheduleError`] says.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<Lease, ScheduleError> {
        // Names that do not exist must not make queues.
        self.index.find(&request.model).await?;
        let permit = tokio::select! {
            permit = self.admission.admit(request) => permit,
            () = self.closing.cancelled() => Err(ScheduleError::ShuttingDown),
        };
        if let Err(ScheduleError::QueueFull { id, .. }) = &permit {
            metrics::counter!("model_queue_refusals_total", "model" => id.clone()).increment(1);
            self.registry.publish(EventKind::QueueFull, id, None);
        }
        let permit = permit?;
        let runner = self.loaded(&request.model, request.load_timeout).await?;
        Ok(Lease::begin(runner, permit, request.keep_alive))
    }

    async fn loaded(&self, id: &str, timeout: Duration) -> Result<RunnerRef, ScheduleError> {
        if self.closing.is_cancelled() {
            return Err(ScheduleError::ShuttingDown);
        }
        let mut outcome = match self.registry.enter(id)? {
            Entry::Loaded(runner) => return Ok(runner),
            Entry::Loading(outcome) => outcome,
            Entry::Absent(load, outcome) => {
                let load = Arc::clone(&self.loader).bring_up(id.to_owned(), timeout, load);
                self.tasks.spawn(load.instrument(tracing::Span::current()));
                outcome
            }
        };
        let Ok(outcome) = outcome.wait_for(Option::is_some).await else {
            return Err(ScheduleError::ShuttingDown);
        };
        if let Some(Err(error)) = outcome.as_ref() {
            return Err(error.clone());
        }
        let runner = self.registry.use_loaded(id);
        runner
            .ok_or_else(|| ScheduleError::LoadFailed { id: id.to_owned(), reason: "it ended at once".into() })
    }

    /// Notes that a request ended well.
    pub fn record_success(&self, id: &str) {
        self.registry.record_success(id);
    }

    /// The state of every model that is not idle, with the reason of one that failed.
    pub fn states(&self) -> BTreeMap<String, (ModelState, Option<String>)> {
        report::states(&self.registry)
    }

    /// Everything loaded or on its way in or out.
    pub fn running(&self) -> Vec<RunningModel> {
        report::running(&self.registry, &self.admission)
    }

    /// When a loaded model is unloaded if nobody asks it again.
    pub fn expires(&self, id: &str) -> Option<Timestamp> {
        report::expires(&self.registry, id)
    }

    /// Bytes for models, 0 when unlimited, and how many of them are taken.
    pub fn budget(&self) -> (u64, u64) {
        (self.registry.limits().budget_bytes, self.registry.used_bytes())
    }

    /// Whether a model of so many bytes fits when nothing else is loaded.
    pub fn fits(&self, bytes: u64) -> bool {
        let budget = self.registry.limits().budget_bytes;
        budget == 0 || bytes <= budget
    }

    /// Takes over what the owner chose for each model.
    pub fn set_retention_policies(&self, policies: HashMap<String, RetentionPolicy>) {
        self.registry.set_policies(policies);
    }

    /// Unloads a model now, also one that still loads. Fails when requests use it or wait for it, unless `force`.
    pub fn unload(&self, id: &str, force: bool) -> Result<(), ScheduleError> {
        self.registry.unload(id, force)
    }

    /// The same for a client that has done with the model. Fails for one that the owner keeps loaded, too.
    pub fn release(&self, id: &str) -> Result<(), ScheduleError> {
        if self.registry.lock().policy(id).pinned {
            return Err(ScheduleError::Kept { id: id.to_owned() });
        }
        self.registry.unload(id, false)
    }

    /// Has the next request load a model anew, as it is set now: what is loaded goes now, or as soon as nobody uses it.
    /// Returns whether that is now.
    pub fn renew(&self, id: &str) -> bool {
        self.registry.renew(id)
    }

    /// Waits until a model's runner is gone, for a while.
    pub async fn wait_unloaded(&self, id: &str) {
        let gone = |state: &State| !state.runners.contains_key(id) && !state.loads.contains_key(id);
        self.registry.wait_until(STOP, gone).await;
    }

    /// Stops what has been idle for longer than it is kept.
    pub fn unload_idle(&self) {
        self.registry.unload_idle();
    }

    /// Asks every engine how large it is, and unloads idle ones if that is too much together.
    pub async fn measure(&self) {
        self.memory.measure_all().await;
    }

    /// Cancelled when the scheduler begins to end.
    pub const fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Lets requests in flight end, within limits, then stops every runner.
    pub async fn close(&self) {
        self.closing.cancel();
        let unused = |state: &State| state.runners.values().all(|runner| runner.in_flight == 0);
        self.registry.wait_until(DRAIN, unused).await;
        self.registry.stop_all(&StopReason::ShuttingDown);
        self.registry.wait_until(STOP, |state| state.runners.is_empty()).await;
        // A unit whose load was given up a moment ago is registered nowhere.
        if let Err(error) = self.launcher.clear_leftovers().await {
            let error = every_cause(&error);
            tracing::warn!("runners may be left: {error}");
        }
        self.tasks.close();
        if tokio::time::timeout(STOP, self.tasks.wait()).await.is_err() {
            tracing::warn!("runners were still ending when the agent ended");
        }
    }
}
