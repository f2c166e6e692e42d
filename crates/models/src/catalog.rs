//! Models that can be fetched by name, and which of them suit a machine.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::manifest::{Description, Role, is_id};

/// Tokens of context that the memory of a model is reckoned for: two requests of 4096.
const TOKENS: u64 = 2 * 4096;
/// What computing takes besides weights and context.
const COMPUTE: u64 = 300 << 20;
/// Share of the budget that one model may take to be suggested, in percent: the rest is for a second one.
const SHARE: u64 = 60;

/// The catalog, as `provisioning/models.toml` says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// Where models come from.
    pub hub: String,
    /// What there is.
    pub models: Vec<Entry>,
}

/// A model of the catalog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it will be called in the store.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Models of one maker and generation.
    pub family: String,
    /// SPDX expression, or the licence's own name.
    pub licence: String,
    /// Where it is at the hub.
    pub repository: String,
    /// Which of the repository's files.
    pub file: String,
    /// About how large the file is.
    pub size_mib: u64,
    /// Context memory per token.
    pub kv_kib: u64,
    /// What it is good for.
    pub roles: Vec<Role>,
    /// ISO 639-1 codes.
    pub languages: Vec<String>,
    /// What it is, in the portal's languages.
    pub description: Description,
}

/// Whether a model suits a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// It fits the budget.
    pub fits: bool,
    /// It is the best of its kind for this machine.
    pub suggested: bool,
    /// Why.
    pub reason: Reason,
}

/// Why a model is suggested or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// More memory than there is for models.
    TooLarge,
    /// The largest of this role that leaves room for another model.
    Best(Role),
    /// It would leave little room for a second model.
    Tight,
    /// A larger one of the same kind fits as well.
    Smaller,
}

impl Reason {
    /// The same in the portal's languages; sizes are in MiB.
    pub fn text(self, needs: u64, budget: u64) -> Description {
        let (needs, budget) = (needs >> 20, budget >> 20);
        let said = |en: String, es: String| Description { en, es };
        match self {
            Self::TooLarge => said(
                format!("Needs {needs} MiB; {budget} MiB are for models on this box."),
                format!("Necesita {needs} MiB; este equipo tiene {budget} MiB para modelos."),
            ),
            Self::Best(role) => said(
                format!("The largest for {} that leaves room for another model.", role.name_en()),
                format!("El mayor para {} que deja sitio a otro modelo.", role.name_es()),
            ),
            Self::Tight => said(
                "Fits, but leaves little room for a second model.".into(),
                "Cabe, pero deja poco sitio a un segundo modelo.".into(),
            ),
            Self::Smaller => said(
                "Fits; a larger one of its kind does too.".into(),
                "Cabe; también cabe uno mayor de su clase.".into(),
            ),
        }
    }
}

impl Entry {
    /// Memory it takes when loaded, in bytes.
    pub const fn needs_bytes(&self) -> u64 {
        (self.size_mib << 20) + (self.kv_kib << 10) * TOKENS + COMPUTE
    }
}

impl Catalog {
    /// Parses and checks a catalog.
    pub fn parse(text: &str) -> Result<Self, String> {
        let catalog: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut ids = HashSet::new();
        for entry in &catalog.models {
            if !is_id(&entry.id) || !ids.insert(entry.id.as_str()) {
                return Err(format!("the id {:?} is not allowed, or there twice", entry.id));
            }
            let plain = |path: &str| !path.is_empty() && !path.starts_with('/') && !path.contains("..");
            let is_gguf = entry.file.to_lowercase().ends_with(".gguf");
            if !plain(&entry.repository) || !plain(&entry.file) || !is_gguf {
                return Err(format!("{}: repository and file must be plain paths to a .gguf", entry.id));
            }
            if entry.size_mib == 0
                || entry.size_mib > 1 << 24
                || entry.kv_kib > 1 << 20
                || entry.roles.is_empty()
            {
                return Err(format!("{}: its size, context memory or roles make no sense", entry.id));
            }
        }
        Ok(catalog)
    }

    /// The model of this name.
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.models.iter().find(|entry| entry.id == id)
    }

    /// Whether a model suits a machine that has `budget` bytes for models; 0 means any number.
    pub fn advice(&self, entry: &Entry, budget: u64) -> Advice {
        let budget = if budget == 0 { u64::MAX } else { budget };
        let needs = entry.needs_bytes();
        if needs > budget {
            return Advice { fits: false, suggested: false, reason: Reason::TooLarge };
        }
        let share = u128::from(budget) * u128::from(SHARE) / 100;
        let comfortable = |entry: &Entry| u128::from(entry.needs_bytes()) <= share;
        if !comfortable(entry) {
            return Advice { fits: true, suggested: false, reason: Reason::Tight };
        }
        let best = |role: &Role| {
            let rivals = self.models.iter().filter(|rival| rival.roles.contains(role) && comfortable(rival));
            rivals.max_by_key(|rival| rival.needs_bytes()).is_some_and(|largest| largest.id == entry.id)
        };
        match entry.roles.iter().find(|role| best(role)) {
            Some(role) => Advice { fits: true, suggested: true, reason: Reason::Best(*role) },
            None => Advice { fits: true, suggested: false, reason: Reason::Smaller },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../provisioning/models.toml");

    fn suggested(budget_gib: u64) -> Vec<String> {
        let catalog = Catalog::parse(SHIPPED).expect("the shipped catalog");
        let wanted = |entry: &&Entry| catalog.advice(entry, budget_gib << 30).suggested;
        catalog.models.iter().filter(wanted).map(|entry| entry.id.clone()).collect()
    }

    #[test]
    fn the_shipped_catalog_has_something_for_every_machine() {
        for budget in [2, 4, 8, 16, 32] {
            let names = suggested(budget);
            assert!(names.iter().any(|id| id.contains("embed")), "{budget} GiB: {names:?}");
            assert!(names.len() >= 2, "{budget} GiB: {names:?}");
        }
        assert!(suggested(12).contains(&"qwen3-8b".to_owned()), "{:?}", suggested(12));
        assert!(suggested(1).iter().all(|id| !id.contains("8b")), "{:?}", suggested(1));
    }

    #[test]
    fn advice_says_why() {
        let catalog = Catalog::parse(SHIPPED).expect("the shipped catalog");
        let entry = catalog.get("qwen3-8b").expect("there");
        let reason = |budget: u64| catalog.advice(entry, budget << 30).reason;
        assert_eq!(reason(2), Reason::TooLarge);
        assert_eq!(reason(7), Reason::Tight);
        assert!(matches!(reason(64), Reason::Best(_) | Reason::Smaller));
        let text = Reason::TooLarge.text(3 << 30, 2 << 30);
        assert!(text.en.contains("3072") && text.es.contains("2048"), "{text:?}");
    }

    #[test]
    fn a_catalog_that_makes_no_sense_is_refused() {
        let entry = SHIPPED.replace("id = \"qwen3-0.6b\"", "id = \"qwen3-1.7b\"");
        assert!(Catalog::parse(&entry).is_err_and(|error| error.contains("twice")));
        assert!(Catalog::parse(&SHIPPED.replace("Qwen3-0.6B-Q8_0.gguf", "../../x.gguf")).is_err());
        assert!(Catalog::parse(&SHIPPED.replace("size_mib = 610", "size_mib = 0")).is_err());
    }
}
