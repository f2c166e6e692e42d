//! How a model is brought up: its turn, room for it, its process. A task of its own, so that a client
//! that leaves takes nobody else's load with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actionbooster_scheduler::{Engine, Footprint, LaunchError, ScheduleError};
use tokio::sync::{SemaphorePermit, watch};

use super::budget::{Decision, Loaded, decide};
use super::lease::Lease;
use super::pool::{Load, Outcome, Pool, Runner, lock};
use super::stop::Stop;

/// The largest models take minutes to read from a slow card. A little longer than the unit's own
/// limit, so that systemd gives up first and cleans up.
const LOAD_LIMIT: Duration = Duration::from_secs(930);

impl Pool {
    /// Loads `id` and tells everyone who waits.
    pub(super) async fn bring_up(self: Arc<Self>, id: String, patience: Duration, load: Arc<Load>) {
        let outcome = tokio::select! {
            outcome = self.load(&id, patience, &load) => outcome,
            () = load.stop.cancelled() => {
                self.launcher.abort(&id).await;
                self.tell("model.unloaded", &id, Some(&Stop::Asked.to_string()));
                Some(Err(ScheduleError::Unloaded { id: id.clone() }))
            }
            () = self.closing.cancelled() => Some(Err(ScheduleError::ShuttingDown)),
        };
        // Nobody waits any more when there is no outcome; the load is out of the books then.
        if let Some(outcome) = outcome {
            lock(&self.inside).loads.remove(&id);
            load.outcome.send_replace(Some(outcome.map(Arc::new)));
            self.changed.notify_waiters();
        }
    }

    async fn load(
        self: &Arc<Self>,
        id: &str,
        patience: Duration,
        load: &Load,
    ) -> Option<Result<Lease, ScheduleError>> {
        let deadline = Instant::now() + patience;
        let ready = tokio::select! {
            ready = self.prepare(id, load, deadline) => ready,
            () = self.abandoned(id, &load.outcome) => return None,
        };
        match ready {
            // The turn is kept until the runner is in the books.
            Ok((_turn, footprint)) => Some(self.launch(id, footprint).await),
            Err(error) => Some(Err(error)),
        }
    }

    /// Waits for the turn to load, then for room.
    async fn prepare(
        &self,
        id: &str,
        load: &Load,
        deadline: Instant,
    ) -> Result<(SemaphorePermit<'_>, Footprint), ScheduleError> {
        let footprint = self.books.index.footprint(id).await?;
        load.bytes.store(footprint.counted_bytes, Ordering::Relaxed);
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(Ok(turn)) = tokio::time::timeout(left, self.turn.acquire()).await else {
            return Err(ScheduleError::LoadTimeout { id: id.to_owned() });
        };
        self.make_room(id, footprint.counted_bytes, deadline).await?;
        Ok((turn, footprint))
    }

    async fn make_room(&self, id: &str, needed: u64, deadline: Instant) -> Result<(), ScheduleError> {
        loop {
            let changed = self.changed.notified();
            let loaded = self.loaded();
            match decide(self.budget, id, needed, &loaded) {
                Decision::Load => return Ok(()),
                Decision::Refuse => {
                    return Err(ScheduleError::TooLarge {
                        id: id.to_owned(),
                        needed_bytes: needed,
                        budget_bytes: self.budget,
                    });
                }
                Decision::Evict(ids) => {
                    for evicted in ids {
                        tracing::info!(model = evicted, for_model = id, "unloading to make room");
                        self.evict(&evicted, Stop::Evicted { by: id.to_owned() });
                    }
                }
                Decision::Pinned => return Err(self.pinned_out(id, needed, &loaded)),
                Decision::Wait => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, changed).await.is_err() {
                let used = loaded.iter().map(|model| model.bytes).fold(0, u64::saturating_add);
                return Err(ScheduleError::NoRoom {
                    id: id.to_owned(),
                    needed_bytes: needed,
                    used_bytes: used,
                    budget_bytes: self.budget,
                });
            }
        }
    }

    fn pinned_out(&self, id: &str, needed: u64, loaded: &[Loaded]) -> ScheduleError {
        let pinned: Vec<&Loaded> = loaded.iter().filter(|model| model.pinned).collect();
        let bytes = pinned.iter().map(|model| model.bytes).fold(0, u64::saturating_add);
        ScheduleError::Pinned {
            id: id.to_owned(),
            needed_bytes: needed,
            pinned: pinned.iter().map(|model| model.id.clone()).collect(),
            left_bytes: self.budget.saturating_sub(bytes),
            budget_bytes: self.budget,
        }
    }

    /// Ends when nobody waits for this load any more, and takes it out of the books.
    async fn abandoned(&self, id: &str, waiting: &watch::Sender<Outcome>) {
        loop {
            waiting.closed().await;
            let mut inside = lock(&self.inside);
            // Whoever subscribes does so under the same lock.
            if waiting.receiver_count() == 0 {
                inside.loads.remove(id);
                return;
            }
        }
    }

    async fn launch(self: &Arc<Self>, id: &str, footprint: Footprint) -> Result<Lease, ScheduleError> {
        let started = Instant::now();
        self.tell("model.loading", id, None);
        let timeout = LaunchError::Timeout { minutes: LOAD_LIMIT.as_secs() / 60 };
        let launched = tokio::time::timeout(LOAD_LIMIT, self.launcher.start(id)).await;
        let Engine { process, channel } = match launched.unwrap_or(Err(timeout)) {
            Ok(engine) => engine,
            Err(error) => {
                let reason = format!("{:#}", anyhow::Error::from(error));
                metrics::counter!("runner_load_failures_total", "model" => id.to_owned()).increment(1);
                tracing::error!(model = id, reason, "a model could not be loaded");
                self.tell("model.crashed", id, Some(&reason));
                lock(&self.inside)
                    .failures
                    .entry(id.to_owned())
                    .or_default()
                    .record_failure(&reason, Instant::now());
                return Err(ScheduleError::LoadFailed { id: id.to_owned(), reason });
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        self.books.latency.record_load(id, started.elapsed());
        metrics::histogram!("runner_load_seconds").record(seconds);
        tracing::info!(model = id, seconds, bytes = footprint.counted_bytes, "loaded");
        self.tell("model.loaded", id, None);
        let mut ending = process.ending();
        let mut inside = lock(&self.inside);
        let generation = inside.tick();
        let runner = Runner {
            process,
            channel: channel.clone(),
            bytes: footprint.counted_bytes,
            reckoned: footprint.estimated_bytes,
            in_flight: 0,
            last_used: generation,
            idle_since: Instant::now(),
            generation,
            stopping: Arc::default(),
            keep_alive: None,
            resident: None,
        };
        inside.runners.insert(id.to_owned(), runner);
        inside.publish();
        let lease = self.take(&mut inside, id);
        drop(inside);
        let (pool, watched) = (Arc::clone(self), id.to_owned());
        self.tasks.spawn(async move {
            let how = ending.wait().await;
            pool.gone(&watched, generation, &how);
        });
        let (pool, measured) = (Arc::clone(self), id.to_owned());
        self.tasks.spawn(async move { pool.measure_one(&measured, generation, channel).await });
        lease.ok_or(ScheduleError::ShuttingDown)
    }
}
