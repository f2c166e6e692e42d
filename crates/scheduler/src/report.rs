//! What is loaded and who waits, as the API shows it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::admission::AdmissionQueue;
use crate::registry::{Registry, State};
use crate::request::KeepAlive;
use crate::runner::Runner;

/// State of a model as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelState {
    /// It is in the store and not in memory.
    Idle,
    /// It is on its way in.
    Loading,
    /// It can answer.
    Ready,
    /// It failed too often and is left alone for a while.
    Failed,
}

/// A loaded model.
#[derive(Debug, Clone, Serialize)]
pub struct RunningModel {
    id: String,
    state: &'static str,
    /// What it counts in the budget.
    bytes: u64,
    /// What it was seen to take.
    resident_bytes: Option<u64>,
    in_flight: usize,
    waiting: usize,
    idle_s: u64,
    /// Seconds it is kept when idle; absent when for ever.
    keep_alive_s: Option<u64>,
    /// When it is unloaded if nobody asks it again; absent when never.
    expires_at: Option<Timestamp>,
    pinned: bool,
}

/// Everything loaded or on its way in or out.
pub(crate) fn running(registry: &Registry, admission: &AdmissionQueue) -> Vec<RunningModel> {
    let state = registry.lock();
    let mut running: Vec<RunningModel> = state
        .runners
        .iter()
        .map(|(id, runner)| RunningModel {
            id: id.clone(),
            state: if runner.is_stopping() { "unloading" } else { "ready" },
            bytes: runner.bytes,
            resident_bytes: runner.resident_bytes,
            in_flight: runner.in_flight,
            waiting: admission.waiting(id),
            idle_s: runner.idle_time().as_secs(),
            keep_alive_s: match registry.keep_alive(&state, id, runner) {
                KeepAlive::For(time) => Some(time.as_secs()),
                KeepAlive::Forever => None,
            },
            expires_at: expiry(registry, &state, id, runner),
            pinned: state.policy(id).pinned,
        })
        .collect();
    let loading = state.loads.iter().filter(|(id, _)| !state.runners.contains_key(*id));
    running.extend(loading.map(|(id, load)| RunningModel {
        id: id.clone(),
        state: "loading",
        bytes: load.bytes.load(Ordering::Relaxed),
        resident_bytes: None,
        in_flight: 0,
        waiting: admission.waiting(id) + load.outcome.receiver_count(),
        idle_s: 0,
        keep_alive_s: None,
        expires_at: None,
        pinned: state.policy(id).pinned,
    }));
    running.sort_by(|left, right| left.id.cmp(&right.id));
    running
}

/// The state of every model that is not idle, with the reason of one that failed.
pub(crate) fn states(registry: &Registry) -> BTreeMap<String, (ModelState, Option<String>)> {
    let state = registry.lock();
    let now = Instant::now();
    let mut states: BTreeMap<_, _> = state
        .breakers
        .iter()
        .filter_map(|(id, breaker)| Some((id, breaker.open(now)?.1)))
        .map(|(id, reason)| (id.clone(), (ModelState::Failed, Some(reason.to_owned()))))
        .collect();
    let up = state.runners.iter().filter(|(_, runner)| !runner.is_stopping());
    states.extend(up.map(|(id, _)| (id.clone(), (ModelState::Ready, None))));
    states.extend(state.loads.keys().map(|id| (id.clone(), (ModelState::Loading, None))));
    states
}

/// When a loaded model is unloaded if nobody asks it again.
pub(crate) fn expires(registry: &Registry, id: &str) -> Option<Timestamp> {
    let state = registry.lock();
    expiry(registry, &state, id, state.runners.get(id)?)
}

fn expiry(registry: &Registry, state: &State, id: &str, runner: &Runner) -> Option<Timestamp> {
    match registry.keep_alive(state, id, runner) {
        KeepAlive::For(time) => Timestamp::now().checked_add(time.saturating_sub(runner.idle_time())).ok(),
        KeepAlive::Forever => None,
    }
}
