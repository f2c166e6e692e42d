//! The loaded models and who uses them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actionbooster_models::{Store, StoreError, estimate_bytes};
use actionbooster_wire::runner::v1::runner_client::RunnerClient;
use serde::Serialize;
use tokio::sync::Notify;
use tonic::transport::Channel;

use super::budget::{Decision, Loaded, decide};
use super::launch::{Launcher, Process};
use crate::Config;

/// A model that dies this often in a row is left alone for a while.
const CRASHES: u32 = 3;
const QUARANTINE: Duration = Duration::from_secs(120);
/// Context the engine gives when the manifest does not say.
const DEFAULT_CONTEXT: u32 = 4096;

/// Why a model cannot be used now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolError {
    #[error("there is no model {id}{}", suggestion(.close))]
    Unknown { id: String, close: Vec<String> },
    #[error("the model {id} cannot be used")]
    Unusable { id: String, source: StoreError },
    #[error("the model {id} needs {} and the budget for models is {}; use a smaller model or raise the budget", mib(*.needed), mib(*.budget))]
    TooLarge { id: String, needed: u64, budget: u64 },
    #[error("the model {id} needs {} and other requests use {} of the budget of {}; try again when they have ended", mib(*.needed), mib(*.used), mib(*.budget))]
    Busy { id: String, needed: u64, used: u64, budget: u64 },
    #[error("the model {id} could not be loaded: {reason}")]
    Load { id: String, reason: String },
    #[error("the model {id} failed {CRASHES} times in a row and rests for {seconds} s; last: {reason}")]
    Quarantined { id: String, seconds: u64, reason: String },
}

fn suggestion(close: &[String]) -> String {
    if close.is_empty() { String::new() } else { format!("; did you mean {}?", close.join(" or ")) }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// State of a model as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Idle,
    Loading,
    Ready,
    Failed,
}

struct Runner {
    process: Process,
    client: RunnerClient<Channel>,
    bytes: u64,
    in_flight: usize,
    last_used: u64,
    idle_since: Instant,
    /// Tells this runner from a later one of the same model.
    generation: u64,
}

#[derive(Default)]
struct Failures {
    count: u32,
    last: String,
    until: Option<Instant>,
}

#[derive(Default)]
struct Inside {
    runners: HashMap<String, Runner>,
    failures: HashMap<String, Failures>,
    loading: Option<String>,
    clock: u64,
}

/// The loaded models.
pub(crate) struct Pool {
    store: Store,
    launcher: Launcher,
    budget: u64,
    slots: u32,
    keep_alive: Duration,
    wait: Duration,
    inside: Arc<Mutex<Inside>>,
    released: Arc<Notify>,
    /// One model loads at a time: two at once would both believe in the same free memory.
    turn: tokio::sync::Mutex<()>,
}

/// The right to use a loaded model; the model stays loaded while it lives.
pub(crate) struct Lease {
    id: String,
    generation: u64,
    client: RunnerClient<Channel>,
    inside: Arc<Mutex<Inside>>,
    released: Arc<Notify>,
}

impl Lease {
    /// A client of the runner.
    pub(crate) fn client(&self) -> RunnerClient<Channel> {
        self.client.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut inside = lock(&self.inside);
        if let Some(runner) = inside.runners.get_mut(&self.id)
            && runner.generation == self.generation
        {
            runner.in_flight = runner.in_flight.saturating_sub(1);
            runner.idle_since = Instant::now();
        }
        drop(inside);
        self.released.notify_waiters();
    }
}

impl Pool {
    pub(crate) fn new(store: Store, launcher: Launcher, config: &Config) -> Self {
        Self {
            store,
            launcher,
            budget: config.model_budget_bytes,
            slots: config.slots.max(1),
            keep_alive: Duration::from_secs(config.keep_alive_s),
            wait: Duration::from_secs(config.wait_s),
            inside: Arc::default(),
            released: Arc::default(),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// A lease of this model, loading it if need be.
    pub(crate) async fn lease(&self, id: &str) -> Result<Lease, PoolError> {
        if let Some(lease) = self.take(id) {
            return Ok(lease);
        }
        let needed = self.needed(id)?;
        let _turn = self.turn.lock().await;
        // Somebody else may have loaded it while we waited for our turn.
        if let Some(lease) = self.take(id) {
            return Ok(lease);
        }
        self.check_quarantine(id)?;
        self.make_room(id, needed).await?;
        self.load(id, needed).await
    }

    /// Notes that a runner died under a request; the next request starts another.
    pub(crate) fn died(&self, lease: &Lease, reason: &str) {
        let mut inside = lock(&self.inside);
        if inside.runners.get(&lease.id).is_some_and(|runner| runner.generation == lease.generation) {
            inside.runners.remove(&lease.id);
            note_failure(&mut inside, &lease.id, reason);
            metrics::counter!("runner_crashes_total", "model" => lease.id.clone()).increment(1);
            tracing::error!(model = lease.id, reason, "a runner died");
        }
    }

    /// Notes that a request ended well.
    pub(crate) fn worked(&self, id: &str) {
        lock(&self.inside).failures.remove(id);
    }

    /// The state of every model that is not idle, with the last failure's reason.
    pub(crate) fn states(&self) -> BTreeMap<String, (State, Option<String>)> {
        let inside = lock(&self.inside);
        let mut states: BTreeMap<_, _> = inside
            .failures
            .iter()
            .filter(|(_, failures)| failures.until.is_some_and(|until| until > Instant::now()))
            .map(|(id, failures)| (id.clone(), (State::Failed, Some(failures.last.clone()))))
            .collect();
        states.extend(inside.runners.keys().map(|id| (id.clone(), (State::Ready, None))));
        states.extend(inside.loading.iter().map(|id| (id.clone(), (State::Loading, None))));
        states
    }

    /// Unloads what has been idle for longer than the keep-alive.
    pub(crate) async fn unload_idle(&self) {
        let _turn = self.turn.lock().await;
        let idle: Vec<String> = {
            let inside = lock(&self.inside);
            let old =
                |runner: &Runner| runner.in_flight == 0 && runner.idle_since.elapsed() >= self.keep_alive;
            inside.runners.iter().filter(|(_, runner)| old(runner)).map(|(id, _)| id.clone()).collect()
        };
        for id in idle {
            self.unload(&id).await;
        }
    }

    /// Stops every runner, also those that an earlier agent left.
    pub(crate) async fn clear(&self) {
        let _turn = self.turn.lock().await;
        let ids: Vec<String> = lock(&self.inside).runners.keys().cloned().collect();
        for id in ids {
            self.unload(&id).await;
        }
        self.launcher.stop_leftovers(self.store.list().0.into_keys()).await;
    }

    fn take(&self, id: &str) -> Option<Lease> {
        let mut inside = lock(&self.inside);
        inside.clock += 1;
        let clock = inside.clock;
        let runner = inside.runners.get_mut(id)?;
        runner.in_flight += 1;
        runner.last_used = clock;
        Some(Lease {
            id: id.to_owned(),
            generation: runner.generation,
            client: runner.client.clone(),
            inside: Arc::clone(&self.inside),
            released: Arc::clone(&self.released),
        })
    }

    fn needed(&self, id: &str) -> Result<u64, PoolError> {
        let (models, _) = self.store.list();
        let Some(model) = models.get(id) else {
            let close = close_names(id, models.keys());
            return Err(PoolError::Unknown { id: id.to_owned(), close });
        };
        let header = model.header().map_err(|source| PoolError::Unusable { id: id.to_owned(), source })?;
        let context = match model.manifest.context_tokens {
            0 => header
                .integer("context_length")
                .map_or(DEFAULT_CONTEXT, |own| own.min(DEFAULT_CONTEXT.into()) as u32),
            own => own,
        };
        Ok(estimate_bytes(&header, context, self.slots))
    }

    fn check_quarantine(&self, id: &str) -> Result<(), PoolError> {
        let inside = lock(&self.inside);
        let Some(failures) = inside.failures.get(id) else { return Ok(()) };
        let Some(left) = failures.until.and_then(|until| until.checked_duration_since(Instant::now())) else {
            return Ok(());
        };
        Err(PoolError::Quarantined {
            id: id.to_owned(),
            seconds: left.as_secs() + 1,
            reason: failures.last.clone(),
        })
    }

    async fn make_room(&self, id: &str, needed: u64) -> Result<(), PoolError> {
        let deadline = Instant::now() + self.wait;
        loop {
            let released = self.released.notified();
            let loaded = self.loaded();
            match decide(self.budget, needed, &loaded) {
                Decision::Evict(ids) => {
                    for evicted in ids {
                        tracing::info!(model = evicted, for_model = id, "unloading to make room");
                        metrics::counter!("runner_evictions_total").increment(1);
                        self.unload(&evicted).await;
                    }
                    return Ok(());
                }
                Decision::Refuse => {
                    return Err(PoolError::TooLarge { id: id.to_owned(), needed, budget: self.budget });
                }
                Decision::Wait => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if tokio::time::timeout(left, released).await.is_err() {
                        let used = loaded.iter().map(|model| model.bytes).sum();
                        return Err(PoolError::Busy { id: id.to_owned(), needed, used, budget: self.budget });
                    }
                }
            }
        }
    }

    fn loaded(&self) -> Vec<Loaded> {
        let inside = lock(&self.inside);
        inside
            .runners
            .iter()
            .map(|(id, runner)| Loaded {
                id: id.clone(),
                bytes: runner.bytes,
                in_flight: runner.in_flight,
                last_used: runner.last_used,
            })
            .collect()
    }

    async fn load(&self, id: &str, bytes: u64) -> Result<Lease, PoolError> {
        lock(&self.inside).loading = Some(id.to_owned());
        let started = Instant::now();
        let outcome = self.launcher.start(id).await;
        let mut inside = lock(&self.inside);
        inside.loading = None;
        match outcome {
            Ok((process, client)) => {
                let seconds = started.elapsed().as_secs_f64();
                metrics::histogram!("runner_load_seconds").record(seconds);
                tracing::info!(model = id, seconds, bytes, "loaded");
                inside.clock += 1;
                let clock = inside.clock;
                let runner = Runner {
                    process,
                    client,
                    bytes,
                    in_flight: 0,
                    last_used: clock,
                    idle_since: Instant::now(),
                    generation: clock,
                };
                inside.runners.insert(id.to_owned(), runner);
                drop(inside);
                self.take(id)
                    .ok_or_else(|| PoolError::Load { id: id.to_owned(), reason: "it ended at once".into() })
            }
            Err(error) => {
                let reason = format!("{error:#}");
                note_failure(&mut inside, id, &reason);
                Err(PoolError::Load { id: id.to_owned(), reason })
            }
        }
    }

    /// Only an idle runner is ever stopped.
    async fn unload(&self, id: &str) {
        let runner = {
            let mut inside = lock(&self.inside);
            match inside.runners.get(id) {
                Some(runner) if runner.in_flight == 0 => inside.runners.remove(id),
                _ => None,
            }
        };
        if let Some(runner) = runner {
            self.launcher.stop(runner.process).await;
            tracing::info!(model = id, "unloaded");
        }
    }
}

fn note_failure(inside: &mut Inside, id: &str, reason: &str) {
    let failures = inside.failures.entry(id.to_owned()).or_default();
    failures.count += 1;
    reason.clone_into(&mut failures.last);
    if failures.count >= CRASHES {
        failures.until = Some(Instant::now() + QUARANTINE);
        // After the rest it has one try before the next.
        failures.count = CRASHES - 1;
    }
}

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names that share a beginning of at least two characters with `id`, or contain it.
fn close_names<'a>(id: &str, names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let wanted = id.to_ascii_lowercase();
    let common =
        |name: &str| name.bytes().zip(wanted.bytes()).take_while(|(left, right)| left == right).count();
    let is_close = |name: &&String| common(name) >= 2 || (!wanted.is_empty() && name.contains(&wanted));
    names.filter(is_close).take(3).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_offered() {
        let names: Vec<String> = ["guide", "qwen3-4b", "qwen3-8b"].map(String::from).into();
        for (wanted, expected) in
            [("guid", vec!["guide"]), ("Qwen", vec!["qwen3-4b", "qwen3-8b"]), ("gpt-4", vec![])]
        {
            assert_eq!(close_names(wanted, names.iter()), expected, "{wanted}");
        }
    }

    #[test]
    fn three_failures_in_a_row_quarantine_a_model() {
        let mut inside = Inside::default();
        for count in 1..=3 {
            note_failure(&mut inside, "m", "boom");
            assert_eq!(inside.failures["m"].until.is_some(), count == 3);
        }
    }
}
