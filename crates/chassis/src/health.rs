//! What a daemon says about itself under `/health`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// State of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Works.
    Ok,
    /// Not yet.
    Starting,
    /// Works in part, or not at all.
    Degraded,
}

/// One part of a daemon or of the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Component {
    /// Name of the part.
    pub name: String,
    /// Its state.
    pub status: Status,
    /// What is wrong, in words; empty when nothing is.
    #[serde(default)]
    pub detail: String,
}

/// The body of `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Report {
    /// The worst state of the parts.
    pub status: Status,
    /// Version of the daemon.
    pub version: String,
    /// The parts.
    pub components: Vec<Component>,
}

impl Report {
    /// A report of these parts.
    pub fn of(version: &str, components: Vec<Component>) -> Self {
        let status = components.iter().map(|component| component.status).max().unwrap_or(Status::Ok);
        Self { status, version: version.to_owned(), components }
    }

    /// The same in states alone, as anybody may read it.
    #[must_use]
    pub fn without_details(mut self) -> Self {
        for component in &mut self.components {
            component.detail.clear();
        }
        self
    }
}

/// The parts of this daemon; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, (Status, String)>>>,
}

impl Health {
    /// Sets the state of a part.
    pub fn set(&self, name: &str, status: Status, detail: impl Into<String>) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(name.to_owned(), (status, detail.into()));
    }

    /// All parts, by name.
    pub fn components(&self) -> Vec<Component> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .map(|(name, (status, detail))| Component {
                name: name.clone(),
                status: *status,
                detail: detail.clone(),
            })
            .collect()
    }
}
