//! Models that can be fetched by name, and the hub they come from.

use std::sync::Arc;

use actionbooster_chassis::{Json, Problem};
use actionbooster_http_client::{innermost, quoted, read};
use actionbooster_models::{Catalog, Entry, Wanted};
use axum::extract::State;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ModelLibrary, off_thread};

/// Bytes of a hub's list of files at most.
const MOST_LIST: usize = 16 << 20;

/// The catalog and where its models come from.
#[derive(Debug)]
pub(crate) struct Shop {
    catalog: Catalog,
    hub: String,
    pub(super) http: Client,
}

/// A file of the hub's, as its API lists it.
#[derive(Debug, Deserialize)]
struct Listed {
    path: String,
    size: u64,
    lfs: Option<Stored>,
}

/// A large file: its `oid` is its SHA-256.
#[derive(Debug, Deserialize)]
struct Stored {
    oid: String,
    size: Option<u64>,
}

impl Shop {
    /// A shop with this catalog; `hub` replaces the catalog's own unless it is empty.
    pub(crate) fn new(catalog: Catalog, hub: &str, http: Client) -> Self {
        let hub = if hub.is_empty() { catalog.hub.as_str() } else { hub }.trim_end_matches('/').to_owned();
        Self { catalog, hub, http }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Entry> {
        self.catalog.get(id)
    }

    /// Asks the hub how large a model is and what its SHA-256 must be. Returns what will come, and from where.
    pub(super) async fn look_up(&self, entry: &Entry) -> Result<(Wanted, String), String> {
        let url = format!("{}/api/models/{}/tree/main", self.hub, entry.repository);
        let unreachable = |error: reqwest::Error| {
            format!("{} cannot be reached ({}); is this box in online mode?", self.hub, innermost(&error))
        };
        let answer = self.http.get(&url).send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = read(answer, MOST_LIST).await.map_err(|error| format!("{url}: {error}"))?;
        if !status.is_success() {
            let said = quoted(&String::from_utf8_lossy(&body));
            return Err(format!("{url} answered {status}: {said}"));
        }
        let files: Vec<Listed> =
            serde_json::from_slice(&body).map_err(|error| format!("{url} sent no list of files: {error}"))?;
        let found = files.into_iter().find(|file| file.path == entry.file);
        let file = found.ok_or_else(|| format!("{} has no file {}", entry.repository, entry.file))?;
        let (size, sha256) = match file.lfs {
            Some(stored) => (stored.size.unwrap_or(file.size), Some(stored.oid)),
            None => (file.size, None),
        };
        let wanted = Wanted {
            id: Some(entry.id.clone()),
            name: Some(entry.name.clone()),
            sha256,
            licence: Some(entry.licence.clone()),
            roles: entry.roles.clone(),
            languages: entry.languages.clone(),
            description: entry.description.clone(),
            ..Wanted::new(entry.file.clone(), size)
        };
        Ok((wanted, format!("{}/{}/resolve/main/{}", self.hub, entry.repository, entry.file)))
    }
}

/// `GET /api/v1/models/catalog`.
pub(crate) async fn list(State(library): State<ModelLibrary>) -> Result<Json<Value>, Problem> {
    let index = Arc::clone(&library.index);
    // Detectors too, which lists of what can be asked leave out.
    let here = off_thread(move || Ok::<_, Problem>(index.store().list().0)).await?;
    let (budget, _) = library.scheduler.budget();
    let shop = Arc::clone(&library.shop);
    let told = |entry: &Entry| {
        let advice = shop.catalog.advice(entry, budget);
        let mut told = json!(entry);
        told["size_bytes"] = (entry.size_mib << 20).into();
        told["needs_bytes"] = entry.needs_bytes().into();
        told["installed"] = here.contains_key(&entry.id).into();
        told["fits"] = advice.fits.into();
        told["suggested"] = advice.suggested.into();
        told["why"] = json!(advice.reason.text(entry.needs_bytes(), budget));
        told
    };
    Ok(Json(json!({"models": shop.catalog.models.iter().map(told).collect::<Vec<_>>()})))
}
