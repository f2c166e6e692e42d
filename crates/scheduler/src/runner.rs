//! One loaded model: its process, its memory, and what uses it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tonic::transport::Channel;

use crate::engine::{Engine, Process};
use crate::eviction::LoadedModel;
use crate::index::Footprint;
use crate::request::{KeepAlive, RetentionPolicy};
use crate::stop_reason::StopReason;

/// A loaded model.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) process: Process,
    pub(crate) channel: Channel,
    /// What it counts in the budget.
    pub(crate) bytes: u64,
    /// What it should take by its file's head alone.
    pub(crate) estimated_bytes: u64,
    /// Resident memory, when last measured.
    pub(crate) resident_bytes: Option<u64>,
    /// Requests that use it.
    pub(crate) in_flight: usize,
    /// Larger is more recent.
    pub(crate) last_used: u64,
    pub(crate) idle_since: Instant,
    loaded_at: Instant,
    /// Tells this runner from a later one of the same model.
    pub(crate) generation: u64,
    /// How long the last request wants it to stay.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// Stops as soon as nobody uses it: its settings were changed since it began to load.
    pub(crate) outdated: bool,
    /// Why it was told to stop, if it was; it stays registered until it is gone, so that its memory counts.
    pub(crate) stop_reason: Arc<OnceLock<StopReason>>,
}

impl Runner {
    /// An engine that has just loaded.
    pub(crate) fn new(engine: Engine, footprint: Footprint, generation: u64) -> Self {
        Self {
            process: engine.process,
            channel: engine.channel,
            bytes: footprint.counted_bytes,
            estimated_bytes: footprint.estimated_bytes,
            resident_bytes: None,
            in_flight: 0,
            last_used: generation,
            idle_since: Instant::now(),
            loaded_at: Instant::now(),
            generation,
            keep_alive: None,
            outdated: false,
            stop_reason: Arc::default(),
        }
    }

    /// Tells it to stop; the first reason counts.
    pub(crate) fn stop(&mut self, why: StopReason) {
        self.stop_reason.get_or_init(|| why);
        self.process.stop();
    }

    /// Whether it may be taken from memory: nobody uses it, and it is not on its way out.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0 && !self.is_stopping()
    }

    /// Whether it is on its way out.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop_reason.get().is_some()
    }

    /// How long nobody has used it.
    pub(crate) fn idle_time(&self) -> Duration {
        if self.in_flight == 0 { self.idle_since.elapsed() } else { Duration::ZERO }
    }

    /// How long it stays when idle: as pinned, as the last request wants, as the owner chose, as usual.
    pub(crate) fn keep_alive(&self, policy: RetentionPolicy, usual: Duration) -> KeepAlive {
        if policy.pinned {
            return KeepAlive::Forever;
        }
        self.keep_alive.or(policy.keep_alive).unwrap_or(KeepAlive::For(usual))
    }

    /// What a decision about memory sees of it.
    pub(crate) fn snapshot(&self, id: &str, policy: RetentionPolicy) -> LoadedModel {
        LoadedModel {
            id: id.to_owned(),
            bytes: self.bytes,
            in_flight: self.in_flight,
            last_used: self.last_used,
            stopping: self.is_stopping(),
            pinned: policy.pinned,
            loaded_at: self.loaded_at,
        }
    }
}
