//! `manifest.toml`: what the store knows about a model besides its bytes.

use serde::{Deserialize, Serialize};

/// Longest identifier; it becomes part of unit and socket names.
const ID_LIMIT: usize = 48;
/// Longest name, in characters.
const NAME_LIMIT: usize = 80;

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML, or not these fields.
    #[error("{0}")]
    Syntax(String),
    /// The identifier would not be safe as a file, unit or socket name.
    #[error("the id {0:?} must be 1 to 48 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit")]
    Id(String),
    /// The file name leads out of the model's folder.
    #[error("the file {0:?} must be a plain file name ending in .gguf, .onnx or .rknn")]
    File(String),
    /// Not a SHA-256.
    #[error("sha256 must be 64 hexadecimal digits")]
    Sha256,
    /// Nothing to show to people.
    #[error("the name must be 1 to 80 characters on one line")]
    Name,
    /// A language nobody can match.
    #[error("the language {0:?} must be a code of two or three lower-case letters, such as \"es\"")]
    Language(String),
    /// Sampling that would choose nothing, or crash the engine.
    #[error("sampling.{field} is {value}, which is not within {range}")]
    Sampling {
        /// Which number.
        field: &'static str,
        /// Its value.
        value: f32,
        /// What is allowed.
        range: &'static str,
    },
}

/// A model's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Identifier, unique in the store; what clients name.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// File in the model's folder.
    pub file: String,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// SPDX expression, or the licence's own name.
    pub licence: String,
    /// ISO 639-1 codes.
    #[serde(default)]
    pub languages: Vec<String>,
    /// What the model is good for.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// Tokens of context to offer; 0 leaves it to the model.
    #[serde(default)]
    pub context_tokens: u32,
    /// What it is, in the portal's languages.
    #[serde(default)]
    pub description: Description,
    /// What the model says when it does not know, word for word: such an answer is no part of a summary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declines: Vec<String>,
    /// Sampling when a request does not say.
    #[serde(default)]
    pub sampling: Sampling,
    /// What a detector's file does not say of itself: `head`, `preprocessing`, `labels`. The worker reads it.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub detector: toml::Table,
}

/// What a model's file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text: `.gguf`.
    #[default]
    Language,
    /// Things in pictures: `.onnx`, or `.rknn` for the NPU of Rockchip.
    Detector,
}

impl Kind {
    /// What a file of this name is for; nothing when it is no model.
    pub fn of(file: &str) -> Option<Self> {
        match file.rsplit_once('.')? {
            (_, "gguf") => Some(Self::Language),
            (_, "onnx" | "rknn") => Some(Self::Detector),
            _ => None,
        }
    }
}

/// A text in the portal's languages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// English.
    #[serde(default)]
    pub en: String,
    /// Spanish.
    #[serde(default)]
    pub es: String,
}

/// What a model is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Knows the appliance's manual and nothing else.
    Guide,
    /// Conversation and general knowledge.
    General,
    /// Programming.
    Code,
    /// Step by step reasoning.
    Reasoning,
    /// Long documents.
    LongContext,
    /// Vectors of texts, for search; writes nothing.
    Embedding,
}

impl Role {
    /// What it is for, in English, in the middle of a sentence.
    pub const fn name_en(self) -> &'static str {
        match self {
            Self::Guide => "questions about this box",
            Self::General => "conversation",
            Self::Code => "programming",
            Self::Reasoning => "reasoning",
            Self::LongContext => "long documents",
            Self::Embedding => "search",
        }
    }

    /// The same in Spanish.
    pub const fn name_es(self) -> &'static str {
        match self {
            Self::Guide => "preguntas sobre este equipo",
            Self::General => "conversación",
            Self::Code => "programación",
            Self::Reasoning => "razonamiento",
            Self::LongContext => "documentos largos",
            Self::Embedding => "búsqueda",
        }
    }
}

/// Sampling when a request does not say.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: Option<f32>,
    /// Nucleus.
    pub top_p: Option<f32>,
    /// Candidates.
    pub top_k: Option<u32>,
    /// Share of the best token's probability.
    pub min_p: Option<f32>,
    /// Penalty for repetition.
    pub repeat_penalty: Option<f32>,
}

impl Manifest {
    /// Parses and checks a manifest.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self =
            toml::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string()))?;
        if !is_id(&manifest.id) {
            return Err(ManifestError::Id(manifest.id));
        }
        let name = manifest.file.rsplit_once('.').map_or("", |(name, _)| name);
        if Kind::of(&manifest.file).is_none()
            || name.is_empty()
            || name.starts_with('.')
            || name.contains(['/', '\0'])
        {
            return Err(ManifestError::File(manifest.file));
        }
        if manifest.sha256.len() != 64 || !manifest.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ManifestError::Sha256);
        }
        let name_length = manifest.name.chars().count();
        if manifest.name.trim().is_empty()
            || name_length > NAME_LIMIT
            || manifest.name.contains(char::is_control)
        {
            return Err(ManifestError::Name);
        }
        let is_code =
            |code: &&String| matches!(code.len(), 2..=3) && code.bytes().all(|b| b.is_ascii_lowercase());
        if let Some(wrong) = manifest.languages.iter().find(|code| !is_code(code)) {
            return Err(ManifestError::Language(wrong.clone()));
        }
        manifest.sampling.check()?;
        Ok(manifest)
    }
}

impl Sampling {
    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        let numbers = [
            ("temperature", self.temperature, 0.0..=2.0, "0 to 2"),
            ("top_p", self.top_p, 0.0..=1.0, "0 to 1"),
            ("min_p", self.min_p, 0.0..=1.0, "0 to 1"),
            ("repeat_penalty", self.repeat_penalty, 0.1..=10.0, "0.1 to 10"),
        ];
        for (field, value, allowed, range) in numbers {
            if let Some(value) = value.filter(|value| !allowed.contains(value)) {
                return Err(ManifestError::Sampling { field, value, range });
            }
        }
        Ok(())
    }
}

/// Whether a text is a valid model identifier.
pub fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= ID_LIMIT && text.bytes().all(allowed) && text.bytes().next().is_some_and(first)
}

/// What somebody sent as an identifier, short enough for a log or an answer.
pub fn shown_id(text: &str) -> String {
    let mut characters = text.chars();
    let shown: String = characters.by_ref().take(2 * ID_LIMIT).collect();
    if characters.next().is_some() { shown + "…" } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_identifier_is_shown_short() {
        assert_eq!(shown_id("no such model"), "no such model");
        let shown = shown_id(&"ñ".repeat(4 << 20));
        assert!(shown.starts_with('ñ') && shown.ends_with('…') && shown.len() < 200, "{shown}");
    }

    fn manifest(id: &str, file: &str, sha256: &str, more: &str) -> String {
        format!(
            "id = {id:?}\nname = \"N\"\nfile = {file:?}\nsha256 = {sha256:?}\nsize_bytes = 1\nlicence = \"MIT\"\n{more}"
        )
    }

    #[test]
    fn only_safe_manifests_are_accepted() {
        let digest = "a".repeat(64);
        let long = "x".repeat(49);
        let cases = [
            (manifest("guide", "guide.gguf", &digest, "roles = [\"guide\"]\n"), Ok(())),
            (manifest("../x", "guide.gguf", &digest, ""), Err("the id")),
            (manifest("", "guide.gguf", &digest, ""), Err("the id")),
            (manifest("-x", "guide.gguf", &digest, ""), Err("the id")),
            (manifest(&long, "guide.gguf", &digest, ""), Err("the id")),
            (manifest("a", "../../etc/passwd.gguf", &digest, ""), Err("the file")),
            (manifest("a", "model.bin", &digest, ""), Err("the file")),
            (manifest("a", "a.gguf", "12", ""), Err("sha256")),
            (manifest("a", "a.gguf", &digest, "colour = 1\n"), Err("colour")),
            (manifest("a", "a.gguf", &digest, "roles = [\"poet\"]\n"), Err("poet")),
            (manifest("a", "a.gguf", &digest, "languages = [\"es\", \"Spanish\"]\n"), Err("Spanish")),
            (manifest("a", "a.gguf", &digest, "[sampling]\ntemperature = nan\n"), Err("temperature is NaN")),
            (manifest("a", "a.gguf", &digest, "[sampling]\ntop_p = 1.5\n"), Err("0 to 1")),
            (manifest("a", "a.gguf", &digest, "[sampling]\ntop_p = 0.9\nmin_p = 0.0\n"), Ok(())),
            (manifest("a", "a.gguf", &digest, "").replace("\"N\"", "\" \""), Err("the name")),
            (manifest("a", "a.gguf", &digest, "").replace("\"N\"", "\"a\\nb\""), Err("the name")),
            (
                manifest("a", "a.gguf", &digest, "").replace("size_bytes = 1", "size_bytes = -1"),
                Err("line 5"),
            ),
        ];
        for (text, expected) in cases {
            match (Manifest::parse(&text), expected) {
                (Ok(_), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{part}: {error}"),
                (got, wanted) => panic!("{text}: {got:?} instead of {wanted:?}"),
            }
        }
    }
}
