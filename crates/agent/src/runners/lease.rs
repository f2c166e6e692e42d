//! The right to use a loaded model.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actionbooster_scheduler::{Ending, KeepAlive};
use actionbooster_wire::runner::v1::runner_client::RunnerClient;
use tonic::transport::Channel;

use super::line::Turn;
use super::pool::{Pool, lock};
use super::stop::Stop;

/// How long a runner whose connection broke may take to be seen as gone.
const END_LIMIT: Duration = Duration::from_secs(2);

/// The right to use a loaded model; the model stays loaded while it lives.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(super) id: String,
    pub(super) generation: u64,
    pub(super) channel: Channel,
    pub(super) ending: Ending,
    /// Why it was told to stop, if it was.
    pub(super) stopping: Arc<OnceLock<Stop>>,
    pub(super) pool: Arc<Pool>,
    /// The slot; a load has none of its own.
    pub(super) turn: Option<Turn>,
}

impl Lease {
    /// A client of the runner.
    pub(crate) fn client(&self) -> RunnerClient<Channel> {
        RunnerClient::new(self.channel.clone())
    }

    /// Stops the runner, which counts as its crash.
    pub(crate) fn condemn(&self, reason: &str) {
        self.pool.condemn(&self.id, self.generation, reason);
    }

    /// Says that the runner no longer answers, and returns why as far as that can be known.
    ///
    /// One whose process still lives is stopped: it holds memory and is of no use.
    pub(crate) async fn broken(&self, symptom: &str) -> String {
        let mut ending = self.ending.clone();
        if let Ok(reason) = tokio::time::timeout(END_LIMIT, ending.wait()).await {
            // Whoever hears of it asks again at once; the books must know by then.
            self.pool.gone(&self.id, self.generation, &reason);
            return self.stopping.get().map_or_else(|| reason.to_string(), ToString::to_string);
        }
        self.pool.condemn(&self.id, self.generation, symptom);
        symptom.to_owned()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut inside = lock(&self.pool.inside);
        if let Some(runner) = inside.runners.get_mut(&self.id)
            && runner.generation == self.generation
        {
            runner.in_flight = runner.in_flight.saturating_sub(1);
            runner.idle_since = Instant::now();
        }
        // One that is not to be kept goes at once, unless others are about to use it.
        let unwanted = inside.runners.get(&self.id).is_some_and(|runner| {
            let leaves = self.pool.stays(&inside, &self.id, runner) == KeepAlive::For(Duration::ZERO);
            leaves && runner.in_flight == 0 && self.turn.is_some() && self.pool.lines.waiting(&self.id) == 0
        });
        if unwanted && let Some(runner) = inside.runners.get_mut(&self.id) {
            runner.stop(Stop::Idle);
        }
        drop(inside);
        self.pool.changed.notify_waiters();
    }
}
