//! What is announced of a model before it comes, and the manifest made of that and of the file.

use serde::{Deserialize, Serialize};

use super::error::IncomingError;
use crate::gguf::{Header, Value};
use crate::manifest::{Description, Kind, Manifest, Role, Sampling, is_id};

/// What is announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Identifier in the store; made from the file name when absent.
    pub id: Option<String>,
    /// Name for people; the file's own when absent.
    pub name: Option<String>,
    /// Name of the file as its owner knows it.
    pub file_name: String,
    /// Bytes that will come.
    pub size_bytes: u64,
    /// What the SHA-256 must be, lower-case hexadecimal; any when absent.
    pub sha256: Option<String>,
    /// Licence; the file's own when absent.
    pub licence: Option<String>,
    /// What it is good for; seen from the file when empty.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// ISO 639-1 codes.
    #[serde(default)]
    pub languages: Vec<String>,
    /// What it is, in the portal's languages.
    #[serde(default)]
    pub description: Description,
}

impl Wanted {
    /// A file about which nothing else is known.
    pub fn new(file_name: String, size_bytes: u64) -> Self {
        Self {
            id: None,
            name: None,
            file_name,
            size_bytes,
            sha256: None,
            licence: None,
            roles: Vec::new(),
            languages: Vec::new(),
            description: Description::default(),
        }
    }
}

/// Where the bytes of an import come from, so that it is not gone on with from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Path or address.
    pub address: String,
    /// What is another when the file there is another; without it nobody knows.
    pub validator: Option<String>,
}

/// What `upload.toml` holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    pub id: String,
    pub wanted: Wanted,
    /// Of an import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Announcement {
    /// Whether what came is the beginning of what is wanted now: of a file of the same digest, or of the same place,
    /// where it has not changed.
    pub fn begins(&self, wanted: &Wanted, origin: &Origin) -> bool {
        let same_digest = wanted.sha256.is_some() && self.wanted.sha256 == wanted.sha256;
        let same_origin = origin.validator.is_some() && self.origin.as_ref() == Some(origin);
        self.wanted.size_bytes == wanted.size_bytes && (same_digest || same_origin)
    }

    /// Name of the file in the store.
    pub fn file(&self) -> String {
        format!("{}.{}", self.id, extension(&self.wanted.file_name))
    }

    /// What the file is for.
    pub fn kind(&self) -> Kind {
        Kind::of(&self.file()).unwrap_or(Kind::Language)
    }

    /// The manifest of the whole file; `header` is that of a language model.
    pub fn manifest(&self, header: Option<&Header>, sha256: String) -> Manifest {
        let said = |key: &str| match header.and_then(|header| header.metadata.get(key)) {
            Some(Value::Text(text)) if !text.trim().is_empty() => Some(one_line(text)),
            _ => None,
        };
        let wished = |wish: &Option<String>| wish.as_deref().map(one_line).filter(|text| !text.is_empty());
        let seen = match header {
            None => Vec::new(),
            Some(header) if header.only_embeds() => vec![Role::Embedding],
            Some(_) => vec![Role::General],
        };
        Manifest {
            id: self.id.clone(),
            name: wished(&self.wanted.name)
                .or_else(|| said("general.name"))
                .unwrap_or_else(|| self.id.clone()),
            file: self.file(),
            sha256,
            size_bytes: self.wanted.size_bytes,
            licence: wished(&self.wanted.licence)
                .or_else(|| said("general.license"))
                .unwrap_or_else(|| "unknown".to_owned()),
            languages: self.wanted.languages.clone(),
            roles: if self.wanted.roles.is_empty() { seen } else { self.wanted.roles.clone() },
            context_tokens: 0,
            description: self.wanted.description.clone(),
            declines: Vec::new(),
            sampling: Sampling::default(),
            detector: toml::Table::new(),
        }
    }
}

/// Ending of the file in the store. What is no detector by its name has to be a language model.
pub fn extension(file_name: &str) -> &'static str {
    let lower = file_name.to_lowercase();
    ["onnx", "rknn"].into_iter().find(|known| lower.ends_with(&format!(".{known}"))).unwrap_or("gguf")
}

/// Names that strangers wrote, made fit for a manifest.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect();
    plain.trim().to_owned()
}

/// The id that is wished, or one made from the file's name.
pub fn id_of(wanted: &Wanted) -> Result<String, IncomingError> {
    let named = || {
        let name = wanted.file_name.rsplit(['/', '\\']).next().unwrap_or_default();
        let known = name.rsplit_once('.').filter(|_| Kind::of(&name.to_lowercase()).is_some());
        slug(known.map_or(name, |(name, _)| name))
    };
    let id = wanted.id.clone().unwrap_or_else(named);
    if is_id(&id) && id != "lost+found" {
        return Ok(id);
    }
    Err(IncomingError::Invalid(format!(
        "the id {id:?} must be 1 to 48 of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit"
    )))
}

fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let kept = lower.chars().map(|c| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' });
    let text: String = kept.collect();
    text.trim_matches(['-', '.', '_']).chars().take(48).collect()
}
