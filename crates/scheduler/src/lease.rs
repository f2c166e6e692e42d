//! The right to use a loaded model.

use std::time::Duration;

use tonic::transport::Channel;

use crate::admission::Permit;
use crate::registry::RunnerRef;
use crate::request::KeepAlive;

/// How long a runner whose connection broke may take to be seen as gone.
const END_LIMIT: Duration = Duration::from_secs(2);

/// The right to use a loaded model; the model stays loaded while it lives.
#[derive(Debug)]
pub struct Lease {
    // Dropped first: whoever is admitted next finds the runner free.
    runner: RunnerRef,
    permit: Permit,
}

impl Lease {
    /// Begins the request that holds this permit.
    pub(crate) fn begin(mut runner: RunnerRef, mut permit: Permit, keep_alive: Option<KeepAlive>) -> Self {
        permit.begins();
        runner.serve(keep_alive);
        Self { runner, permit }
    }

    /// The connection to the model's engine.
    pub fn channel(&self) -> Channel {
        self.runner.channel.clone()
    }

    /// Notes how many tokens the request took: that counts in its caller's share, not what was estimated.
    pub fn settle(&mut self, tokens: u32) {
        self.permit.settle(tokens);
    }

    /// Stops the engine, which lives and does not answer. That counts as its crash.
    pub fn mark_unhealthy(&self, reason: &str) {
        self.runner.registry.mark_unhealthy(&self.runner.id, self.runner.generation, reason);
    }

    /// Says that the connection to the engine broke, and returns why as far as that can be known.
    ///
    /// One whose process still lives is stopped: it holds memory and is of no use.
    pub async fn connection_lost(&self, symptom: &str) -> String {
        let RunnerRef { id, generation, registry, stop_reason, .. } = &self.runner;
        let mut ending = self.runner.ending.clone();
        if let Ok(reason) = tokio::time::timeout(END_LIMIT, ending.wait()).await {
            // Whoever hears of it asks again at once; its end must be known by then.
            registry.record_end(id, *generation, &reason);
            return stop_reason.get().map_or_else(|| reason.to_string(), ToString::to_string);
        }
        registry.mark_unhealthy(id, *generation, symptom);
        symptom.to_owned()
    }
}
