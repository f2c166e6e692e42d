//! Models that can be fetched by name, and which of them suit a machine.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::manifest::{Description, Kind, Role, is_id};

/// Tokens of context that the memory of a model is reckoned for: two requests of 4096.
const TOKENS: u64 = 2 * 4096;
/// What computing takes besides weights and context.
const COMPUTE: u64 = 300 << 20;
/// Bytes that a detector's intermediate results take for each pixel of its input, at most of the families here.
const PIXEL: u64 = 256;
/// What ONNX Runtime takes besides, in bytes.
const ONNX_RUNTIME: u64 = 32 << 20;
/// Sides of a detector's input in pixels: all of them are multiples of 32.
const SIDES: std::ops::RangeInclusive<u32> = 32..=2048;
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
    /// What its file is for.
    #[serde(default)]
    pub kind: Kind,
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
    /// Context memory per token of a language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_kib: Option<u64>,
    /// Width and height of the pictures that a detector looks at, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<(u32, u32)>,
    /// What a language model is good for.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// ISO 639-1 codes of a language model's languages.
    #[serde(default)]
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
    /// The largest detector that leaves room for other models.
    BestDetector,
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
            Self::BestDetector => said(
                "The most thorough detector that leaves room for other models.".into(),
                "El detector más minucioso que deja sitio a otros modelos.".into(),
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
    pub fn needs_bytes(&self) -> u64 {
        let file = self.size_mib << 20;
        match self.kind {
            Kind::Language => file + (self.kv_kib.unwrap_or_default() << 10) * TOKENS + COMPUTE,
            // ONNX Runtime keeps weights a second time, laid out as its computations want them.
            Kind::Detector => {
                let (width, height) = self.input.unwrap_or_default();
                2 * file + u64::from(width) * u64::from(height) * PIXEL + ONNX_RUNTIME
            }
        }
    }

    /// Says what is wrong with what its kind needs, if anything is.
    fn check(&self) -> Result<(), &'static str> {
        let fits = Kind::of(&self.file.to_lowercase()) == Some(self.kind);
        if !(1..=1 << 24).contains(&self.size_mib) {
            return Err("its size makes no sense");
        }
        match self.kind {
            Kind::Language if !fits => Err("a language model's file ends in .gguf"),
            Kind::Language if self.roles.is_empty() || self.input.is_some() => {
                Err("a language model has roles and no input")
            }
            Kind::Language if self.kv_kib.is_none_or(|kib| kib > 1 << 20) => {
                Err("a language model needs kv_kib, of a sensible size")
            }
            Kind::Detector if !fits => Err("a detector's file ends in .onnx or .rknn"),
            Kind::Detector
                if self.kv_kib.is_some() || !self.roles.is_empty() || !self.languages.is_empty() =>
            {
                Err("a detector has neither kv_kib nor roles nor languages")
            }
            Kind::Detector
                if self.input.is_none_or(|(width, height)| {
                    [width, height].iter().any(|side| !SIDES.contains(side) || side % 32 != 0)
                }) =>
            {
                Err("a detector needs input = [width, height] in multiples of 32")
            }
            Kind::Language | Kind::Detector => Ok(()),
        }
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
            if !plain(&entry.repository) || !plain(&entry.file) {
                return Err(format!("{}: repository and file must be plain paths", entry.id));
            }
            entry.check().map_err(|error| format!("{}: {error}", entry.id))?;
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
        let largest = |alike: &dyn Fn(&Entry) -> bool| {
            let rivals = self.models.iter().filter(|rival| alike(rival) && comfortable(rival));
            rivals.max_by_key(|rival| rival.needs_bytes()).is_some_and(|largest| largest.id == entry.id)
        };
        if entry.kind == Kind::Detector && largest(&|rival| rival.kind == Kind::Detector) {
            return Advice { fits: true, suggested: true, reason: Reason::BestDetector };
        }
        let best = |role: &Role| largest(&|rival| rival.roles.contains(role));
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

    /// A catalog of one detector, with some lines of it replaced.
    fn detector(changes: &[(&str, &str)]) -> String {
        let text = "hub = \"https://hub\"\n[[models]]\nkind = \"detector\"\nid = \"d\"\nname = \"D\"\nfamily = \"D\"\n\
                    licence = \"MIT\"\nrepository = \"a/b\"\nfile = \"d.onnx\"\nsize_mib = 35\ninput = [640, 640]\n\
                    description = { en = \"E\", es = \"S\" }\n";
        changes.iter().fold(text.to_owned(), |text, (line, other)| text.replace(line, other))
    }

    #[test]
    fn detectors_have_an_input_and_nothing_of_language_models() {
        let catalog = Catalog::parse(&detector(&[])).expect("sound");
        let entry = &catalog.models[0];
        assert_eq!((entry.kind, entry.input), (Kind::Detector, Some((640, 640))));
        assert_eq!(entry.needs_bytes(), (2 * 35 + 100 + 32) << 20);
        for (line, other, words) in [
            ("d.onnx", "d.gguf", ".onnx"),
            ("input = [640, 640]\n", "", "needs input"),
            ("[640, 640]", "[640, 0]", "multiples of 32"),
            ("[640, 640]", "[641, 640]", "multiples of 32"),
            ("[640, 640]", "[640, 64000]", "multiples of 32"),
            ("size_mib = 35", "size_mib = 35\nkv_kib = 1", "neither kv_kib"),
            ("size_mib = 35", "size_mib = 35\nroles = [\"general\"]", "nor roles"),
            ("size_mib = 35", "size_mib = 0", "size"),
            ("kind = \"detector\"\n", "", ".gguf"),
            ("kind = \"detector\"", "kind = \"poet\"", "poet"),
        ] {
            let error = Catalog::parse(&detector(&[(line, other)])).expect_err(words);
            assert!(error.contains(words), "{words}: {error}");
        }
        let language = SHIPPED.replace("kv_kib = 112\n", "");
        assert!(Catalog::parse(&language).is_err_and(|error| error.contains("kv_kib")));
    }

    #[test]
    fn detectors_are_advised_among_themselves() {
        let large = detector(&[
            ("id = \"d\"", "id = \"large\""),
            ("size_mib = 35", "size_mib = 400"),
            ("hub = \"https://hub\"\n", ""),
        ]);
        let catalog = Catalog::parse(&(detector(&[]) + &large)).expect("both");
        let reasons = |budget: u64| -> Vec<Reason> {
            catalog.models.iter().map(|entry| catalog.advice(entry, budget << 20).reason).collect()
        };
        assert_eq!(reasons(100), [Reason::TooLarge, Reason::TooLarge]);
        assert_eq!(reasons(250), [Reason::Tight, Reason::TooLarge]);
        assert_eq!(reasons(1000), [Reason::BestDetector, Reason::Tight]);
        assert_eq!(reasons(8000), [Reason::Smaller, Reason::BestDetector]);
    }

    #[test]
    fn no_shipped_detector_has_a_licence_that_binds_its_users() {
        let catalog = Catalog::parse(SHIPPED).expect("the shipped catalog");
        let detectors: Vec<_> = catalog.models.iter().filter(|entry| entry.kind == Kind::Detector).collect();
        assert!(!detectors.is_empty());
        for entry in detectors {
            assert!(
                ["Apache-2.0", "MIT"].contains(&entry.licence.as_str()),
                "{}: {}",
                entry.id,
                entry.licence
            );
        }
    }
}
