//! What is loaded, who waits, and how much memory it really takes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actionbooster_scheduler::KeepAlive;
use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::runner_client::RunnerClient;
use jiff::Timestamp;
use serde::Serialize;
use tonic::transport::Channel;

use super::pool::{Pool, lock};
use super::stop::Stop;

/// How long a runner may take to say how large it is.
const ANSWER: Duration = Duration::from_secs(2);

/// A loaded model.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Running {
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

impl Pool {
    /// Everything loaded or on its way in or out.
    pub(crate) fn running(&self) -> Vec<Running> {
        let inside = lock(&self.inside);
        let pinned = |id: &str| inside.wishes.get(id).is_some_and(|wishes| wishes.pinned);
        let mut running: Vec<Running> = inside
            .runners
            .iter()
            .map(|(id, runner)| Running {
                id: id.clone(),
                state: if runner.is_stopping() { "unloading" } else { "ready" },
                bytes: runner.bytes,
                resident_bytes: runner.resident,
                in_flight: runner.in_flight,
                waiting: self.lines.waiting(id),
                idle_s: if runner.in_flight == 0 { runner.idle_since.elapsed().as_secs() } else { 0 },
                keep_alive_s: match self.stays(&inside, id, runner) {
                    KeepAlive::For(time) => Some(time.as_secs()),
                    KeepAlive::Forever => None,
                },
                expires_at: self.expires_of(&inside, id, runner),
                pinned: pinned(id),
            })
            .collect();
        let loading = inside.loads.iter().filter(|(id, _)| !inside.runners.contains_key(*id));
        running.extend(loading.map(|(id, load)| Running {
            id: id.clone(),
            state: "loading",
            bytes: load.bytes.load(Ordering::Relaxed),
            resident_bytes: None,
            in_flight: 0,
            waiting: self.lines.waiting(id) + load.outcome.receiver_count(),
            idle_s: 0,
            keep_alive_s: None,
            expires_at: None,
            pinned: pinned(id),
        }));
        running.sort_by(|left, right| left.id.cmp(&right.id));
        running
    }

    /// Bytes for models, 0 when unlimited, and how many of them are taken.
    pub(crate) fn budget(&self) -> (u64, u64) {
        let used = self.loaded().iter().map(|model| model.bytes).fold(0, u64::saturating_add);
        (self.budget, used)
    }

    /// Asks every runner how large it is, and unloads idle ones if that is too much together.
    pub(crate) async fn measure(&self) {
        let channels: Vec<_> = {
            let inside = lock(&self.inside);
            let up = inside.runners.iter().filter(|(_, runner)| !runner.is_stopping());
            up.map(|(id, runner)| (id.clone(), runner.generation, runner.channel.clone())).collect()
        };
        for (id, generation, channel) in channels {
            self.measure_one(&id, generation, channel).await;
        }
    }

    /// Asks a runner how large it is. One that takes more than was reckoned counts with what it takes,
    /// now and when it is loaded again.
    pub(super) async fn measure_one(&self, id: &str, generation: u64, channel: Channel) {
        let mut client = RunnerClient::new(channel);
        let asked = tokio::time::timeout(ANSWER, client.describe(wire::DescribeRequest {})).await;
        // A busy runner is measured the next time.
        let Ok(Ok(answer)) = asked else { return };
        let resident = answer.into_inner().resident_bytes;
        {
            let mut inside = lock(&self.inside);
            let runner = inside.runners.get_mut(id).filter(|runner| runner.generation == generation);
            let Some(runner) = runner else { return };
            runner.resident = Some(resident);
            let reckoned = runner.reckoned;
            let ratio = resident as f64 / reckoned.max(1) as f64;
            metrics::gauge!("model_estimate_ratio", "model" => id.to_owned()).set(ratio);
            if resident > runner.bytes {
                tracing::warn!(model = id, reckoned, resident, "a model takes more than was reckoned");
                runner.bytes = resident;
                self.books.index.record_resident(id, resident);
            }
            inside.publish();
        }
        self.shrink();
    }

    /// Unloads idle models while the budget is exceeded, least recently used first.
    fn shrink(&self) {
        let (budget, mut used) = self.budget();
        if budget == 0 || used <= budget {
            return;
        }
        let mut idle: Vec<_> = self
            .loaded()
            .into_iter()
            .filter(|model| model.in_flight == 0 && !model.stopping && !model.pinned)
            .collect();
        idle.sort_by_key(|model| model.last_used);
        for model in idle {
            if used <= budget {
                return;
            }
            used = used.saturating_sub(model.bytes);
            tracing::info!(model = model.id, "unloading: models take more memory than was reckoned");
            self.evict(&model.id, Stop::Overrun);
        }
    }
}
