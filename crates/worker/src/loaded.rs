//! Loaded models: what tells them apart, what they take, and which of them go when room is needed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use nix::unistd::{SysconfVar, sysconf};
use tokio::task::JoinHandle;

use crate::detector::{About, Process};
use crate::detectors::lock;
use crate::line::Line;

/// How long a model's keeper may take to end.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Bytes that a model may take on top of its weights, which lie there twice while it is loaded.
const AROUND: u64 = 64 << 20;
/// Loaded models take this part of the machine's memory, when the owner says nothing.
const MEMORY_SHARE: u64 = 4;
/// But no less than this.
const LEAST_BYTES: u64 = 1 << 30;

/// What tells loaded models apart: the file as it was, and the size of the input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) file: PathBuf,
    stamp: (u64, SystemTime),
    pub(crate) input: Option<(u32, u32)>,
}

impl Key {
    /// The key of a file of so many bytes, changed then.
    pub(crate) const fn new(file: PathBuf, stamp: (u64, SystemTime), input: Option<(u32, u32)>) -> Self {
        Self { file, stamp, input }
    }

    /// Bytes that it is likely to take once it is loaded.
    pub(crate) const fn estimate(&self) -> u64 {
        self.stamp.0.saturating_mul(2).saturating_add(AROUND)
    }
}

/// A loaded model.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) id: String,
    /// SHA-256 of the file, in hexadecimal.
    pub(crate) model_id: String,
    pub(crate) about: About,
    pub(crate) line: Arc<Line>,
    pid: Option<u32>,
    /// When its last session ended.
    pub(crate) idle_since: Mutex<Instant>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl Loaded {
    /// Has the process look at what comes to the line from now on.
    pub(crate) fn new(id: String, model_id: String, process: Process) -> Self {
        let (about, pid, line) = (process.about.clone(), process.id(), Arc::<Line>::default());
        let serving = tokio::spawn(process.serve(Arc::clone(&line)));
        let (idle_since, serving) = (Mutex::new(Instant::now()), Mutex::new(Some(serving)));
        Self { id, model_id, about, line, pid, idle_since, serving }
    }

    /// How long nobody has used it; nothing while somebody does.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        (self.line.sessions() == 0).then(|| lock(&self.idle_since).elapsed())
    }

    /// Bytes of memory that are its process's own.
    fn bytes(&self) -> u64 {
        let status = self.pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
        status.as_deref().and_then(own_bytes).unwrap_or_default()
    }

    pub(crate) async fn end(&self) {
        self.line.close();
        let serving = lock(&self.serving).take();
        if let Some(mut serving) = serving {
            match tokio::time::timeout(END_LIMIT, &mut serving).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(model = self.id, %error, "a detector's keeper broke off"),
                // In the middle of a picture that takes too long; the process goes with it.
                Err(_) => serving.abort(),
            }
        }
        tracing::info!(model = self.id, "unloaded");
    }
}

/// Bytes of a process that it shares with no file, after its `/proc/…/status`.
fn own_bytes(status: &str) -> Option<u64> {
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kilobytes("RssAnon:")? + kilobytes("RssShmem:")?) * 1024)
}

/// How many models may be loaded, and how much memory they may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) models: usize,
    pub(crate) bytes: u64,
}

impl Capacity {
    /// Of so many bytes; of a part of this machine's memory where that is 0.
    pub(crate) fn of(models: usize, bytes: u64) -> Self {
        let pages = |variable| sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok());
        let whole = || Some(pages(SysconfVar::_PHYS_PAGES)? * pages(SysconfVar::PAGE_SIZE)?);
        let usual = || (whole().unwrap_or_default() / MEMORY_SHARE).max(LEAST_BYTES);
        Self { models: models.max(1), bytes: if bytes == 0 { usual() } else { bytes } }
    }
}

/// A loaded model as the choice sees it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate<K> {
    pub(crate) key: K,
    pub(crate) bytes: u64,
    /// How long nobody has used it; nothing while somebody does.
    pub(crate) idle_for: Option<Duration>,
}

/// The loaded models for the choice.
pub(crate) fn candidates(loaded: &HashMap<Key, Arc<Loaded>>) -> Vec<Candidate<Key>> {
    let candidate = |(key, loaded): (&Key, &Arc<Loaded>)| Candidate {
        key: key.clone(),
        bytes: loaded.bytes(),
        idle_for: loaded.idle_for(),
    };
    loaded.iter().map(candidate).collect()
}

/// Which models go, so that those that are `coming`, so many of so many bytes, have room: of those that nobody uses
/// the ones that have been idle longest. What was gone already with the others in use is an error that says why. One
/// model alone always has room, since what it takes is only known once it is loaded.
pub(crate) fn choose<K>(
    mut loaded: Vec<Candidate<K>>,
    coming: (usize, u64),
    capacity: Capacity,
) -> Result<Vec<K>, String> {
    loaded.sort_by_key(|candidate| candidate.idle_for);
    let mut gone = Vec::new();
    loop {
        let bytes = loaded.iter().fold(coming.1, |sum, candidate| sum.saturating_add(candidate.bytes));
        let many = loaded.len() + coming.0 > capacity.models;
        let large = bytes > capacity.bytes && loaded.len() + coming.0 > 1;
        if !many && !large {
            return Ok(gone);
        }
        match loaded.pop_if(|candidate| candidate.idle_for.is_some()) {
            Some(idle) => gone.push(idle.key),
            None if many => {
                return Err(format!(
                    "{} models are in use or being loaded, as many as the worker keeps; try again when one is free, \
                     or raise most_models in worker.toml",
                    loaded.len() + coming.0 - 1
                ));
            }
            None => {
                return Err(format!(
                    "the models in use and this one need about {} MB, and {} MB are allowed; try again when one is \
                     free, or raise models_bytes in worker.toml",
                    bytes / 1_000_000,
                    capacity.bytes / 1_000_000
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, bytes, seconds that nobody has used it.
    type Told = (&'static str, u64, Option<u64>);

    fn chosen(
        loaded: &[Told],
        coming: (usize, u64),
        models: usize,
        bytes: u64,
    ) -> Result<Vec<&'static str>, String> {
        let candidate = |(key, bytes, idle): &Told| Candidate {
            key: *key,
            bytes: *bytes,
            idle_for: idle.map(Duration::from_secs),
        };
        choose(loaded.iter().map(candidate).collect(), coming, Capacity { models, bytes })
    }

    #[test]
    fn the_longest_idle_models_go_and_none_that_is_in_use() {
        let three = [("old", 100, Some(9)), ("used", 100, None), ("new", 100, Some(1))];
        assert_eq!(chosen(&three, (1, 100), 4, 400), Ok(vec![]), "there is room");
        assert_eq!(chosen(&three, (1, 100), 3, 400), Ok(vec!["old"]), "one too many");
        assert_eq!(chosen(&three, (1, 150), 4, 400), Ok(vec!["old"]), "some bytes too many");
        assert_eq!(chosen(&three, (1, 290), 4, 400), Ok(vec!["old", "new"]));
        assert_eq!(chosen(&three, (0, 0), 2, 400), Ok(vec!["old"]), "also when nothing comes");
        let many = chosen(&three, (1, 100), 1, 400).expect_err("the one in use stays");
        assert!(many.starts_with("1 models are in use") && many.contains("most_models"), "{many}");
        let large = chosen(&three, (1, 350), 4, 400).expect_err("no room beside the one in use");
        assert!(large.contains("models_bytes"), "{large}");
        assert_eq!(chosen(&[], (1, 9000), 4, 400), Ok(vec![]), "alone it may try");
        assert!(chosen(&[], (2, 9000), 4, 400).is_err(), "not beside another that is being loaded");
    }

    #[test]
    fn memory_is_read_of_what_is_the_process_s_own() {
        let status = "VmRSS:\t  9000 kB\nRssAnon:\t    500 kB\nRssFile:\t  8000 kB\nRssShmem:\t     12 kB\n";
        assert_eq!(own_bytes(status), Some(512 * 1024));
        assert_eq!(own_bytes("Name: x\n"), None);
    }
}
