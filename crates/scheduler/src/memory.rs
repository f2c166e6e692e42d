//! How much memory loaded models really take, and what follows when that is too much.

use std::sync::Arc;
use std::time::Duration;

use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::runner_client::RunnerClient;
use tonic::transport::Channel;

use crate::index::ModelIndex;
use crate::registry::Registry;
use crate::stop_reason::StopReason;

/// How long an engine may take to say how large it is.
const ANSWER: Duration = Duration::from_secs(2);

/// Measures what loaded models take.
#[derive(Debug)]
pub(crate) struct MemoryMonitor {
    index: Arc<ModelIndex>,
    registry: Arc<Registry>,
}

impl MemoryMonitor {
    pub(crate) fn new(index: Arc<ModelIndex>, registry: Arc<Registry>) -> Arc<Self> {
        Arc::new(Self { index, registry })
    }

    /// Asks every engine how large it is, and unloads idle ones if that is too much together.
    pub(crate) async fn measure_all(&self) {
        let channels: Vec<_> = {
            let state = self.registry.lock();
            let up = state.runners.iter().filter(|(_, runner)| !runner.is_stopping());
            up.map(|(id, runner)| (id.clone(), runner.generation, runner.channel.clone())).collect()
        };
        for (id, generation, channel) in channels {
            self.measure(&id, generation, channel).await;
        }
    }

    /// Asks an engine how large it is. One that takes more than was reckoned counts with what it takes,
    /// now and when it is loaded again.
    pub(crate) async fn measure(&self, id: &str, generation: u64, channel: Channel) {
        let mut client = RunnerClient::new(channel);
        let asked = tokio::time::timeout(ANSWER, client.describe(wire::DescribeRequest {})).await;
        // A busy engine is measured the next time.
        let Ok(Ok(answer)) = asked else { return };
        let resident = answer.into_inner().resident_bytes;
        {
            let mut state = self.registry.lock();
            let runner = state.runners.get_mut(id).filter(|runner| runner.generation == generation);
            let Some(runner) = runner else { return };
            runner.resident_bytes = Some(resident);
            let reckoned = runner.estimated_bytes;
            let ratio = resident as f64 / reckoned.max(1) as f64;
            metrics::gauge!("model_estimate_ratio", "model" => id.to_owned()).set(ratio);
            if resident > runner.bytes {
                tracing::warn!(model = id, reckoned, resident, "a model takes more than was reckoned");
                runner.bytes = resident;
                self.index.record_resident(id, resident);
            }
            state.record_gauges();
        }
        self.shrink();
    }

    /// Unloads idle models while the budget is exceeded, least recently used first.
    fn shrink(&self) {
        let (budget, mut used) = (self.registry.limits().budget_bytes, self.registry.used_bytes());
        if budget == 0 || used <= budget {
            return;
        }
        let mut idle: Vec<_> = self
            .registry
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
            self.registry.evict(&model.id, StopReason::Overrun);
        }
    }
}
