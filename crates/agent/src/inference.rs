//! What it takes to ask models.

use std::sync::Arc;
use std::time::Duration;

use actionbooster_models::is_id;
use actionbooster_scheduler::{LatencyEstimator, Listing, ModelIndex, Scheduler};

/// What it takes to ask models. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Inference {
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) index: Arc<ModelIndex>,
    pub(crate) latency: Arc<LatencyEstimator>,
    /// Models that are asked when a request names none; empty means every model that fits.
    pub(crate) default_models: Arc<[String]>,
    pub(crate) limits: Limits,
}

/// How long requests may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How long one waits for memory and for other loads.
    pub(crate) load_timeout: Duration,
    /// How long a model may show no sign of life.
    pub(crate) hang_timeout: Duration,
}

impl Inference {
    /// The id in our store of a model as clients of any dialect name it, without a look at the store for what is
    /// an id already.
    pub(crate) async fn id_of(&self, name: &str) -> String {
        if is_id(name) { name.to_owned() } else { id_of(name, &self.index.list().await) }
    }
}

/// The id in our store of a model as Ollama's clients name it: `qwen3:0.6b` is `qwen3-0.6b`, and
/// `guide:latest` is `guide`.
pub(crate) fn id_of(name: &str, listing: &Listing) -> String {
    let plain = name.strip_suffix(":latest").unwrap_or(name);
    let dashed = plain.replace([':', '/'], "-");
    let known = [name, plain, dashed.as_str()].into_iter().find(|id| listing.models.contains_key(*id));
    known.unwrap_or(plain).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_store() {
        let mut listing = Listing::default();
        for id in ["guide", "qwen3-0.6b"] {
            let manifest = format!(
                "id = \"{id}\"\nname = \"G\"\nfile = \"g.gguf\"\nsha256 = \"{}\"\nsize_bytes = 4\nlicence = \"MIT\"\n",
                "0".repeat(64)
            );
            let manifest = actionbooster_models::Manifest::parse(&manifest).expect("manifest");
            let model = actionbooster_models::Model { manifest, folder: "/nowhere".into(), built_in: true };
            listing.models.insert(id.into(), model);
        }
        for (name, id) in [
            ("guide", "guide"),
            ("guide:latest", "guide"),
            ("qwen3:0.6b", "qwen3-0.6b"),
            ("other:7b", "other:7b"),
        ] {
            assert_eq!(id_of(name, &listing), id);
        }
    }
}
