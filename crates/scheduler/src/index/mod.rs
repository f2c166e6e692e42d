//! The index of the models in the store: what is there, and how much memory each one needs.

mod details;
mod similar;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use actionbooster_models::{Kind, Model, Store, StoreError, estimate, is_id, shown_id};
use serde::Serialize;

use crate::causes::with_causes;
use crate::error::ScheduleError;
use crate::request::{KeepAlive, RetentionPolicy};

pub use details::ModelDetails;

/// Reads the store off the runtime's threads, and remembers what a file's head said.
#[derive(Debug)]
pub struct ModelIndex {
    store: Store,
    /// Requests that an engine answers together.
    slots: u32,
    estimates: Mutex<HashMap<PathBuf, Estimated>>,
    /// What models were seen to take beyond their estimate, in bytes.
    resident: Mutex<HashMap<String, u64>>,
}

/// The estimate of a file that had this size and time.
#[derive(Debug, Clone)]
struct Estimated {
    stamp: (u64, SystemTime),
    bytes: Result<u64, String>,
}

/// Memory that a model takes when loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// By its file's head.
    pub estimated_bytes: u64,
    /// With what it was seen to take.
    pub counted_bytes: u64,
}

/// Memory of a loaded model by its parts, as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryEstimate {
    context_tokens: u32,
    slots: u32,
    weights_bytes: u64,
    cache_bytes: u64,
    compute_bytes: u64,
    total_bytes: u64,
}

/// The language models of the store at one moment.
#[derive(Debug, Default)]
pub struct Listing {
    /// By identifier.
    pub models: BTreeMap<String, Model>,
    /// What is wrong with those that cannot be read.
    pub errors: Vec<String>,
}

impl Listing {
    /// The models that may be meant by `id`, best first.
    pub fn similar(&self, id: &str) -> Vec<String> {
        similar::similar(id, self.models.keys())
    }
}

impl ModelIndex {
    /// An index of this store, for engines that answer so many requests together.
    pub fn new(store: Store, slots: u32) -> Arc<Self> {
        Arc::new(Self { store, slots, estimates: Mutex::default(), resident: Mutex::default() })
    }

    /// Every language model, and what is wrong with the others.
    pub async fn list(self: &Arc<Self>) -> Listing {
        let index = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let (mut models, errors) = index.store.list();
            models.retain(|_, model| model.kind() == Kind::Language);
            Listing { models, errors: errors.iter().map(|error| with_causes(error)).collect() }
        });
        read.await.unwrap_or_default()
    }

    /// Requests that an engine answers together.
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// The store itself, for work that blocks.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The model of this id. Fails when there is none, or when its manifest cannot be read.
    pub async fn find(self: &Arc<Self>, id: &str) -> Result<Model, ScheduleError> {
        if !is_id(id) {
            return Err(self.unknown(id).await);
        }
        let (index, wanted) = (Arc::clone(self), id.to_owned());
        let found = tokio::task::spawn_blocking(move || index.store.open(&wanted)).await;
        match found {
            Ok(Ok(model)) => Ok(model),
            Ok(Err(StoreError::Missing(_))) | Err(_) => Err(self.unknown(id).await),
            Ok(Err(error)) => Err(ScheduleError::Unusable { id: id.to_owned(), reason: with_causes(&error) }),
        }
    }

    async fn unknown(self: &Arc<Self>, id: &str) -> ScheduleError {
        ScheduleError::Unknown { id: shown_id(id), similar: self.list().await.similar(id) }
    }

    /// What the model takes when loaded. Fails when it is unknown or its file is not sound.
    pub async fn footprint(self: &Arc<Self>, id: &str) -> Result<Footprint, ScheduleError> {
        let model = self.find(id).await?;
        self.weigh(model).await.map_err(|reason| ScheduleError::Unusable { id: id.to_owned(), reason })
    }

    /// Notes that a model takes more than its estimate.
    pub fn record_resident(&self, id: &str, bytes: u64) {
        let mut resident = lock(&self.resident);
        let known = resident.entry(id.to_owned()).or_default();
        *known = (*known).max(bytes);
    }

    /// Forgets what was measured: the model's options or its file have changed.
    pub fn forget(&self, id: &str) {
        lock(&self.resident).remove(id);
        lock(&self.estimates).clear();
    }

    /// What the owner chose for every model.
    pub async fn retention_policies(self: &Arc<Self>) -> HashMap<String, RetentionPolicy> {
        let index = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let (models, _) = index.store.list();
            let policy = |id: String| {
                let choices = index
                    .store
                    .settings(&id)
                    .inspect_err(|error| tracing::warn!("{}", with_causes(error)))
                    .ok()?;
                let keep_alive = choices.options.keep_alive_s.map(|s| KeepAlive::For(Duration::from_secs(s)));
                Some((id, RetentionPolicy { pinned: choices.pinned, keep_alive }))
            };
            models.into_keys().filter_map(policy).collect()
        });
        read.await.unwrap_or_default()
    }

    /// Whether the owner gave this model a system prompt.
    pub async fn has_system_prompt(self: &Arc<Self>, id: &str) -> bool {
        let (index, id) = (Arc::clone(self), id.to_owned());
        let read = tokio::task::spawn_blocking(move || index.store.settings(&id));
        read.await.is_ok_and(|choices| choices.is_ok_and(|choices| choices.options.system.is_some()))
    }

    /// Bytes that the model takes when loaded, or why it cannot be used.
    pub async fn memory_bytes(self: &Arc<Self>, model: Model) -> Result<u64, String> {
        Ok(self.weigh(model).await?.counted_bytes)
    }

    async fn weigh(self: &Arc<Self>, model: Model) -> Result<Footprint, String> {
        if model.kind() == Kind::Detector {
            return Err("it looks at pictures; ask it at /v1/detection".into());
        }
        let index = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let estimated_bytes = index.estimate_now(&model)?;
            let resident = lock(&index.resident).get(&model.manifest.id).copied();
            Ok(Footprint { estimated_bytes, counted_bytes: estimated_bytes.max(resident.unwrap_or(0)) })
        });
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Memory the model takes with this context and so many requests at once, or why it cannot be used.
    /// What is absent is as it is used.
    pub async fn estimate(
        self: &Arc<Self>,
        model: Model,
        context_tokens: Option<u32>,
        slots: Option<u32>,
    ) -> Result<MemoryEstimate, String> {
        let index = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let header = model.header().map_err(|error| with_causes(&error))?;
            let options = index.store.settings(&model.manifest.id).unwrap_or_default().options;
            let context_tokens =
                context_tokens.unwrap_or_else(|| model.context_tokens_for(&header, &options));
            let slots = slots.unwrap_or(index.slots);
            let parts = estimate(&header, context_tokens, slots);
            Ok(MemoryEstimate {
                context_tokens,
                slots,
                weights_bytes: parts.weights,
                cache_bytes: parts.cache,
                compute_bytes: parts.compute,
                total_bytes: parts.total(),
            })
        });
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Tokens that a request to the model may hold with its answer, as the owner chose or its file says.
    pub async fn context_tokens(self: &Arc<Self>, model: Model) -> Result<u32, String> {
        Ok(self.estimate(model, None, None).await?.context_tokens)
    }

    /// What the model's file says, or why it cannot be used.
    pub async fn details(&self, model: Model) -> Result<ModelDetails, String> {
        let read = tokio::task::spawn_blocking(move || ModelDetails::of(&model));
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn estimate_now(&self, model: &Model) -> Result<u64, String> {
        let path = model.file();
        let stamp = std::fs::metadata(&path).and_then(|data| Ok((data.len(), data.modified()?)));
        let stamp = stamp.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let known = lock(&self.estimates).get(&path).cloned();
        if let Some(known) = known.filter(|known| known.stamp == stamp) {
            return known.bytes;
        }
        let bytes = model.header().map_err(|error| with_causes(&error)).map(|header| {
            // Settings that cannot be read do not change what the file needs.
            let options = self.store.settings(&model.manifest.id).unwrap_or_default().options;
            estimate(&header, model.context_tokens_for(&header, &options), self.slots).total()
        });
        lock(&self.estimates).insert(path, Estimated { stamp, bytes: bytes.clone() });
        bytes
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_model_that_is_not_there_is_answered_with_similar_names_and_a_cut_file_with_the_reason() {
        let root = tempfile::tempdir().expect("folder");
        let folder = root.path().join("guide");
        std::fs::create_dir(&folder).expect("folder");
        let manifest = format!(
            "id = \"guide\"\nname = \"G\"\nfile = \"g.gguf\"\nsha256 = \"{}\"\nsize_bytes = 4\nlicence = \"MIT\"\n",
            "0".repeat(64)
        );
        std::fs::write(folder.join("manifest.toml"), manifest).expect("manifest");
        std::fs::write(folder.join("g.gguf"), "GGUF").expect("model");
        let index = ModelIndex::new(Store::new(root.path().into(), "/nowhere".into()), 2);
        let error = index.footprint("guid").await.expect_err("unknown").to_string();
        assert_eq!(error, "there is no model guid; did you mean guide?");
        let error = index.footprint(&"guide".repeat(1 << 20)).await.expect_err("unknown").to_string();
        assert!(error.len() < 200, "{} bytes", error.len());
        let error = index.footprint("guide").await.expect_err("cut").to_string();
        assert!(error.contains("cannot be used") && error.contains("cut while it was copied"), "{error}");
    }
}
