//! The models of the store: what is there, and how much memory each one needs.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actionbooster_chassis::health::{Health, Status};
use actionbooster_chassis::{Json, Problem};
use actionbooster_models::{Kind, Model, Store, StoreError, estimate, gguf};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::runners::{self, KeepAlive, PoolError, Wishes};
use crate::{Shared, library, names};

/// Reads the store off the runtime's threads, and remembers what a file's head said.
#[derive(Debug)]
pub(crate) struct Shelf {
    store: Store,
    /// Requests that a runner answers together.
    slots: u32,
    measured: Mutex<HashMap<PathBuf, Measured>>,
    /// What models were seen to take beyond their estimate.
    seen: Mutex<HashMap<String, u64>>,
}

/// What was read from a file that had this size and time.
#[derive(Debug, Clone)]
struct Measured {
    stamp: (u64, SystemTime),
    bytes: Result<u64, String>,
}

/// Bytes that a model takes when loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    /// By its file's head.
    pub(crate) reckoned: u64,
    /// With what it was seen to take.
    pub(crate) counted: u64,
}

/// The store at one moment.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) models: BTreeMap<String, Model>,
    pub(crate) errors: Vec<String>,
}

impl Shelf {
    pub(crate) fn new(store: Store, slots: u32) -> Arc<Self> {
        Arc::new(Self { store, slots, measured: Mutex::default(), seen: Mutex::default() })
    }

    /// Every language model, and what is wrong with the others.
    pub(crate) async fn list(self: &Arc<Self>) -> Listing {
        let own = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let (mut models, errors) = own.store.list();
            models.retain(|_, model| model.kind() == Kind::Language);
            Listing { models, errors: errors.iter().map(|error| chain(error)).collect() }
        });
        read.await.unwrap_or_default()
    }

    /// Requests that a runner answers together.
    pub(crate) const fn slots(&self) -> u32 {
        self.slots
    }

    /// The store itself, for work that blocks.
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// The model of this id, if its manifest can be read.
    pub(crate) async fn find(self: &Arc<Self>, id: &str) -> Result<Model, PoolError> {
        let (own, wanted) = (Arc::clone(self), id.to_owned());
        let found = tokio::task::spawn_blocking(move || own.store.open(&wanted)).await;
        match found {
            Ok(Ok(model)) => Ok(model),
            Ok(Err(StoreError::Missing(_))) | Err(_) => {
                let listing = self.list().await;
                Err(PoolError::Unknown { id: id.to_owned(), close: names::close(id, listing.models.keys()) })
            }
            Ok(Err(error)) => Err(PoolError::Unusable { id: id.to_owned(), reason: chain(&error) }),
        }
    }

    /// What the model takes when loaded; refuses one that is unknown or whose file is not sound.
    pub(crate) async fn needed(self: &Arc<Self>, id: &str) -> Result<Weight, PoolError> {
        let model = self.find(id).await?;
        self.weigh(model).await.map_err(|reason| PoolError::Unusable { id: id.to_owned(), reason })
    }

    /// Notes that a model takes more than its estimate.
    pub(crate) fn correct(&self, id: &str, bytes: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.entry(id.to_owned()).or_default();
        *known = (*known).max(bytes);
    }

    /// Forgets what was measured: the model's options or its file have changed.
    pub(crate) fn forget(&self, id: &str) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What the owner wishes for every model.
    pub(crate) async fn wishes(self: &Arc<Self>) -> HashMap<String, Wishes> {
        let own = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let (models, _) = own.store.list();
            let wish = |id: String| {
                let choices =
                    own.store.settings(&id).inspect_err(|error| tracing::warn!("{}", chain(error))).ok()?;
                let keep_alive = choices.options.keep_alive_s.map(|s| KeepAlive::For(Duration::from_secs(s)));
                Some((id, Wishes { pinned: choices.pinned, keep_alive }))
            };
            models.into_keys().filter_map(wish).collect()
        });
        read.await.unwrap_or_default()
    }

    /// Whether the owner gave this model a system text.
    pub(crate) async fn has_system_text(self: &Arc<Self>, id: &str) -> bool {
        let (own, id) = (Arc::clone(self), id.to_owned());
        let read = tokio::task::spawn_blocking(move || own.store.settings(&id));
        read.await.is_ok_and(|choices| choices.is_ok_and(|choices| choices.options.system.is_some()))
    }

    /// Bytes that the model takes when loaded, or why it cannot be used.
    pub(crate) async fn measure(self: &Arc<Self>, model: Model) -> Result<u64, String> {
        Ok(self.weigh(model).await?.counted)
    }

    async fn weigh(self: &Arc<Self>, model: Model) -> Result<Weight, String> {
        if model.kind() == Kind::Detector {
            return Err("it looks at pictures; ask it at /v1/detection".into());
        }
        let own = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let reckoned = own.measure_now(&model)?;
            let seen =
                own.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&model.manifest.id).copied();
            Ok(Weight { reckoned, counted: reckoned.max(seen.unwrap_or(0)) })
        });
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Memory the model takes with this context and so many requests at once; as it is used when absent.
    pub(crate) async fn need(
        self: &Arc<Self>,
        model: Model,
        context: Option<u32>,
        slots: Option<u32>,
    ) -> Result<Need, String> {
        let own = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let header = model.header().map_err(|error| chain(&error))?;
            let options = own.store.settings(&model.manifest.id).unwrap_or_default().options;
            let context_tokens = context.unwrap_or_else(|| model.context_tokens_for(&header, &options));
            let slots = slots.unwrap_or(own.slots);
            let parts = estimate(&header, context_tokens, slots);
            Ok(Need {
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

    /// What the model's file says, or why it cannot be used.
    pub(crate) async fn details(&self, model: Model) -> Result<Details, String> {
        let read = tokio::task::spawn_blocking(move || Details::of(&model));
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn measure_now(&self, model: &Model) -> Result<u64, String> {
        let path = model.file();
        let stamp = std::fs::metadata(&path).and_then(|data| Ok((data.len(), data.modified()?)));
        let stamp = stamp.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let known = self.measured.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
        if let Some(known) = known.filter(|known| known.stamp == stamp) {
            return known.bytes;
        }
        let bytes = model.header().map_err(|error| chain(&error)).map(|header| {
            // Choices that cannot be read do not change what the file needs.
            let options = self.store.settings(&model.manifest.id).unwrap_or_default().options;
            estimate(&header, model.context_tokens_for(&header, &options), self.slots).total()
        });
        let measured = Measured { stamp, bytes: bytes.clone() };
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).insert(path, measured);
        bytes
    }
}

/// Memory of a loaded model in bytes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Need {
    context_tokens: u32,
    slots: u32,
    weights_bytes: u64,
    cache_bytes: u64,
    compute_bytes: u64,
    total_bytes: u64,
}

/// What a model's file says about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Details {
    pub(crate) architecture: String,
    pub(crate) parameters: u64,
    pub(crate) quantisation: &'static str,
    pub(crate) context_tokens: u32,
    pub(crate) template: String,
    pub(crate) vocabulary: Option<u64>,
    pub(crate) tensors: u64,
    /// Everything short that it says; long lists are left out.
    pub(crate) metadata: BTreeMap<String, Value>,
}

impl Details {
    fn of(model: &Model) -> Result<Self, String> {
        let header = model.header().map_err(|error| chain(&error))?;
        let told = |value: &gguf::Value| match value {
            gguf::Value::Integer(number) => i64::try_from(*number).map_or(Value::Null, Value::from),
            gguf::Value::Float(number) => Value::from(*number),
            gguf::Value::Boolean(flag) => Value::from(*flag),
            gguf::Value::Text(text) => Value::from(text.as_str()),
            gguf::Value::Integers(_) | gguf::Value::Array(_) => Value::Null,
        };
        let template = header.chat_template().unwrap_or_default().to_owned();
        let metadata = header.metadata.iter().filter(|(key, _)| *key != "tokenizer.chat_template");
        Ok(Self {
            architecture: header.architecture().to_owned(),
            parameters: header.parameters,
            quantisation: header.quantisation(),
            context_tokens: model.context_tokens(&header),
            template,
            vocabulary: header.vocabulary(),
            tensors: header.tensors,
            metadata: metadata.map(|(key, value)| (key.clone(), told(value))).collect(),
        })
    }
}

/// 404 for a model that is not there, with the names that may have been meant.
pub(crate) fn unknown(id: &str, listing: &Listing) -> Problem {
    let close = names::close(id, listing.models.keys());
    let detail = if !close.is_empty() {
        format!("There is no model {id}; did you mean {}?", close.join(" or "))
    } else if listing.models.is_empty() {
        format!("There is no model {id}; the store is empty.")
    } else {
        let known: Vec<&str> = listing.models.keys().map(String::as_str).collect();
        format!("There is no model {id}; there are {}.", known.join(", "))
    };
    Problem::new(StatusCode::NOT_FOUND, "model_not_found", "There is no such model", detail)
        .with("param", "model")
}

/// When the model's file was put there, in Unix seconds; 0 when the file system does not tell.
pub(crate) fn created(model: &Model) -> u64 {
    let modified = std::fs::metadata(model.file()).and_then(|data| data.modified());
    modified.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |age| age.as_secs())
}

/// `GET /api/v1/models`.
pub(crate) async fn list(State(agent): State<Shared>) -> Json<Value> {
    let listing = agent.shelf.list().await;
    let mut listed = Vec::with_capacity(listing.models.len());
    for model in listing.models.values() {
        listed.push(library::described(&agent, model).await);
    }
    let (bytes, used) = agent.pool.budget();
    let budget = json!({"bytes": (bytes > 0).then_some(bytes), "used_bytes": used});
    Json(json!({"models": listed, "errors": listing.errors, "budget": budget}))
}

/// Says under `/health` whether the store holds models that can be asked, and whether their runners live.
pub(crate) async fn report_health(agent: &Shared, health: &Health) {
    let listing = agent.shelf.list().await;
    if listing.models.is_empty() {
        health.set("models", Status::Degraded, "there is no usable model; add one");
    } else if listing.errors.is_empty() {
        health.set("models", Status::Ok, "");
    } else {
        health.set("models", Status::Degraded, listing.errors.join("; "));
    }
    let failed: Vec<String> = agent
        .pool
        .states()
        .into_iter()
        .filter(|(id, (state, _))| *state == runners::State::Failed && listing.models.contains_key(id))
        .map(|(id, (_, reason))| format!("the model {id} keeps failing: {}", reason.unwrap_or_default()))
        .collect();
    let status = if failed.is_empty() { Status::Ok } else { Status::Degraded };
    health.set("runners", status, failed.join("; "));
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_model_that_is_not_there_is_answered_with_close_names() {
        let root = tempfile::tempdir().expect("folder");
        let folder = root.path().join("guide");
        std::fs::create_dir(&folder).expect("folder");
        let manifest = format!(
            "id = \"guide\"\nname = \"G\"\nfile = \"g.gguf\"\nsha256 = \"{}\"\nsize_bytes = 4\nlicence = \"MIT\"\n",
            "0".repeat(64)
        );
        std::fs::write(folder.join("manifest.toml"), manifest).expect("manifest");
        std::fs::write(folder.join("g.gguf"), "GGUF").expect("model");
        let shelf = Shelf::new(Store::new(root.path().into(), "/nowhere".into()), 2);
        let error = shelf.needed("guid").await.expect_err("unknown").to_string();
        assert_eq!(error, "there is no model guid; did you mean guide?");
        let error = shelf.needed("guide").await.expect_err("cut").to_string();
        assert!(error.contains("cannot be used") && error.contains("cut while it was copied"), "{error}");
        let listing = shelf.list().await;
        for (id, expected) in [("guid", "did you mean guide?"), ("other", "there are guide.")] {
            assert!(unknown(id, &listing).detail().contains(expected), "{id}");
        }
    }
}
