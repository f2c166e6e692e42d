//! What was generated, kept as files: one JSON with all parameters beside each output.
//!
//! `assets/YYYYMMDD_HHmm/<id>.json` describes an asset; its files lie beside it as `<id>.<ending>`.
//! The JSON is written last, so that an asset is whole or not there. When all assets together exceed
//! the limit, the oldest that are not pinned go.
//!
//! An asset belongs to whom made it; for others it is not there.

mod files;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use actionbooster_storage::{Shortage, Space};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::principal::Principal;
use files::{Kept, discard, read, remove, write_asset, write_description};

/// What a description and its folder take at most.
const DESCRIPTION_BYTES: u64 = 256 << 10;

/// What the assets of a kind take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of them all.
    pub bytes: u64,
    /// How many files.
    pub files: u64,
    /// Of these bytes, those that stay until somebody unpins them.
    pub pinned_bytes: u64,
}

/// Why an asset cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// It is not there.
    #[error("there is no asset {0}; it may have been removed to make room")]
    Missing(String),
    /// There is no room.
    #[error("{kept} could not be kept: {reason}")]
    Full {
        /// What was to be kept.
        kept: String,
        /// Why there is no room.
        reason: String,
    },
    /// The disk failed.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// What an asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A text.
    Text,
    /// An image.
    Image,
    /// A video.
    Video,
}

impl Kind {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Video => "video",
        }
    }
}

/// One generated thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asset {
    /// Its name.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// When it was made.
    pub created_at: Timestamp,
    /// Grows from one to the next: the clock may be put back.
    #[serde(default)]
    pub sequence: u64,
    /// Whether it stays until somebody unpins it.
    #[serde(default)]
    pub pinned: bool,
    /// Identifier of the key that made it; without one it belongs to the box's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Everything that is needed to make it again.
    pub parameters: Value,
    /// What it consists of, the main file first.
    pub files: Vec<AssetFile>,
}

/// A file of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetFile {
    /// Its name in the asset.
    pub name: String,
    /// Its kind, as HTTP names it.
    pub media_type: String,
    /// Its bytes.
    pub size_bytes: u64,
}

/// A file to keep.
#[derive(Debug)]
pub(crate) struct Content<'a> {
    /// Ending of its name, without the dot.
    pub ending: &'a str,
    pub media_type: &'a str,
    pub bytes: &'a [u8],
}

/// The folder of all assets.
#[derive(Debug)]
pub struct Assets {
    root: PathBuf,
    /// Bytes of all assets together, with their descriptions; 0 means no limit.
    limit: u64,
    /// Changes come one after another.
    changing: Mutex<()>,
}

impl Assets {
    /// Those below `root`, which may take `limit` bytes together; 0 means no limit.
    pub const fn new(root: PathBuf, limit: u64) -> Self {
        Self { root, limit, changing: Mutex::new(()) }
    }

    /// Keeps an output. The oldest unpinned assets make room for it.
    pub(crate) fn keep(
        &self,
        principal: &Principal,
        kind: Kind,
        parameters: Value,
        contents: &[Content<'_>],
    ) -> Result<Asset, AssetError> {
        let _changing = self.change();
        let created_at = Timestamp::now();
        let id = format!("a-{:016x}", rand::random::<u64>());
        let folder = self.root.join(created_at.strftime("%Y%m%d_%H%M").to_string());
        let sequence = self.all()?.first().map_or(0, |newest| newest.asset.sequence) + 1;
        let owner = principal.as_owner().map(str::to_owned);
        let mut asset =
            Asset { id, kind, created_at, sequence, pinned: false, owner, parameters, files: Vec::new() };
        let bytes = contents.iter().map(|content| content.bytes.len() as u64).sum();
        let written = self.has_room(bytes).and_then(|()| write_asset(&folder, &mut asset, contents));
        match written {
            Ok(()) => {
                self.make_room(&asset.id)?;
                Ok(asset)
            }
            Err(error) => {
                discard(&folder, &asset);
                Err(match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        AssetError::Full { kept: asset.id, reason: error.to_string() }
                    }
                    _ => AssetError::Io { what: format!("{} could not be kept", asset.id), source: error },
                })
            }
        }
    }

    /// Refuses what could not be kept, before somebody waits for it.
    pub fn check_room(&self) -> Result<(), AssetError> {
        self.has_room(0)
            .map_err(|error| AssetError::Full { kept: "what is asked for".into(), reason: error.to_string() })
    }

    fn has_room(&self, bytes: u64) -> io::Result<()> {
        Space::of(&self.root)?
            .room_for(bytes + DESCRIPTION_BYTES, 4)
            .map_err(|shortage: Shortage| shortage.into())
    }

    /// What the assets of each kind take.
    pub fn sizes(&self) -> Result<BTreeMap<Kind, Sizes>, AssetError> {
        let mut sizes = BTreeMap::<Kind, Sizes>::new();
        for kept in self.all()? {
            let (asset, bytes) = (&kept.asset, kept.bytes());
            let kind = sizes.entry(asset.kind).or_default();
            kind.bytes += bytes;
            // And its description.
            kind.files += asset.files.len() as u64 + 1;
            kind.pinned_bytes += if asset.pinned { bytes } else { 0 };
        }
        Ok(sizes)
    }

    /// Deletes what is not pinned, of one kind or of all. Tells how many went.
    pub fn clear(&self, kind: Option<Kind>) -> Result<u64, AssetError> {
        let _changing = self.change();
        let mut removed = 0;
        for Kept { folder, asset, .. } in self.all()? {
            if asset.pinned || kind.is_some_and(|kind| kind != asset.kind) {
                continue;
            }
            remove(&folder, &asset).map_err(|source| AssetError::Io {
                what: format!("{} could not be deleted", asset.id),
                source,
            })?;
            removed += 1;
        }
        Ok(removed)
    }

    /// The assets of this principal, newest first. What is damaged is left out and told in the log.
    pub fn list(&self, principal: &Principal) -> Result<Vec<Asset>, AssetError> {
        let own = |asset: &Asset| principal.may_use(asset.owner.as_deref());
        Ok(self.all()?.into_iter().map(|kept| kept.asset).filter(own).collect())
    }

    /// What is known of one.
    pub fn get(&self, principal: &Principal, id: &str) -> Result<Asset, AssetError> {
        Ok(self.find(principal, id)?.1)
    }

    /// The path of one of its files; the first when no name is given.
    pub fn file(
        &self,
        principal: &Principal,
        id: &str,
        name: Option<&str>,
    ) -> Result<(PathBuf, AssetFile), AssetError> {
        let (folder, asset) = self.find(principal, id)?;
        let wanted = |file: &&AssetFile| name.is_none_or(|name| file.name == name);
        let file = asset.files.iter().find(wanted).cloned();
        let file = file.ok_or_else(|| AssetError::Missing(format!("{id}/{}", name.unwrap_or("file"))))?;
        Ok((folder.join(&file.name), file))
    }

    /// Keeps it from being removed to make room, or no longer.
    pub fn pin(&self, principal: &Principal, id: &str, pinned: bool) -> Result<Asset, AssetError> {
        let _changing = self.change();
        let (folder, mut asset) = self.find(principal, id)?;
        asset.pinned = pinned;
        let failed =
            |source| AssetError::Io { what: format!("the pin of {id} could not be written"), source };
        write_description(&folder, &asset).map_err(failed)?;
        Ok(asset)
    }

    /// Deletes one with its files.
    pub fn delete(&self, principal: &Principal, id: &str) -> Result<(), AssetError> {
        let _changing = self.change();
        let (folder, asset) = self.find(principal, id)?;
        remove(&folder, &asset)
            .map_err(|source| AssetError::Io { what: format!("{id} could not be deleted"), source })
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the oldest unpinned assets, but not `newest`, until the limit holds.
    fn make_room(&self, newest: &str) -> Result<(), AssetError> {
        if self.limit == 0 {
            return Ok(());
        }
        let all = self.all()?;
        let mut used: u64 = all.iter().map(Kept::bytes).sum();
        for kept in all.iter().rev() {
            let asset = &kept.asset;
            if used <= self.limit {
                break;
            }
            if asset.pinned || asset.id == newest {
                continue;
            }
            remove(&kept.folder, asset).map_err(|source| AssetError::Io {
                what: format!("{} could not be removed to make room", asset.id),
                source,
            })?;
            tracing::info!(asset = asset.id, "removed to make room");
            used -= kept.bytes();
        }
        Ok(())
    }

    /// One that is this principal's; others are told that it is not there.
    fn find(&self, principal: &Principal, id: &str) -> Result<(PathBuf, Asset), AssetError> {
        let missing = || AssetError::Missing(id.to_owned());
        // Only ids of ours ever reach a path.
        let is_ours = id.strip_prefix("a-").is_some_and(|rest| {
            rest.len() == 16
                && rest.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
        });
        if !is_ours {
            return Err(missing());
        }
        for folder in self.folders()? {
            if let Some((asset, _)) = read(&folder.join(format!("{id}.json"))) {
                if !principal.may_use(asset.owner.as_deref()) {
                    return Err(missing());
                }
                return Ok((folder, asset));
            }
        }
        Err(missing())
    }

    fn all(&self) -> Result<Vec<Kept>, AssetError> {
        let mut all = Vec::new();
        for folder in self.folders()? {
            let entries = fs::read_dir(&folder).map_err(|source| self.unreadable(source))?;
            for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
                if path.extension().is_some_and(|ending| ending == "json")
                    && let Some((asset, description_bytes)) = read(&path)
                {
                    all.push(Kept { folder: folder.clone(), asset, description_bytes });
                }
            }
        }
        let place = |asset: &Asset| (asset.sequence, asset.created_at, asset.id.clone());
        all.sort_by_key(|kept| std::cmp::Reverse(place(&kept.asset)));
        Ok(all)
    }

    fn folders(&self) -> Result<Vec<PathBuf>, AssetError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.unreadable(source)),
        };
        Ok(entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
    }

    fn unreadable(&self, source: io::Error) -> AssetError {
        AssetError::Io { what: format!("{} cannot be read", self.root.display()), source }
    }
}

#[cfg(test)]
mod tests;
