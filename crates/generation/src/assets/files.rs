//! One asset's files: its outputs, and last its description.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Asset, AssetFile, Content};

/// An asset where it lies.
pub(super) struct Kept {
    pub(super) folder: PathBuf,
    pub(super) asset: Asset,
    pub(super) description_bytes: u64,
}

impl Kept {
    /// What it takes, with its description: prompts may be longer than what was made of them.
    pub(super) fn bytes(&self) -> u64 {
        self.description_bytes + self.asset.files.iter().map(|file| file.size_bytes).sum::<u64>()
    }
}

/// An asset, and the bytes of its description.
pub(super) fn read(path: &Path) -> Option<(Asset, u64)> {
    let bytes = fs::read(path).ok()?;
    serde_json::from_slice(&bytes)
        .map(|asset| (asset, bytes.len() as u64))
        .inspect_err(
            |error| tracing::warn!(path = %path.display(), %error, "an asset's description is damaged"),
        )
        .ok()
}

pub(super) fn write_asset(folder: &Path, asset: &mut Asset, contents: &[Content<'_>]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (number, content) in contents.iter().enumerate() {
        // The description has the ending `json` to itself.
        let part = if number == 0 { String::new() } else { format!("-{number}") };
        let name = format!("{}{part}.{}", asset.id, content.ending);
        let size_bytes = content.bytes.len() as u64;
        asset.files.push(AssetFile { name: name.clone(), media_type: content.media_type.into(), size_bytes });
        let mut file = fs::File::create_new(folder.join(name))?;
        file.write_all(content.bytes)?;
        file.sync_all()?;
    }
    write_description(folder, asset)
}

pub(super) fn write_description(folder: &Path, asset: &Asset) -> io::Result<()> {
    let unfinished = folder.join(format!(".{}.tmp", asset.id));
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec_pretty(asset)?)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(format!("{}.json", asset.id)))?;
    fs::File::open(folder)?.sync_all()
}

/// The description first: without it the rest is nobody's.
pub(super) fn remove(folder: &Path, asset: &Asset) -> io::Result<()> {
    fs::remove_file(folder.join(format!("{}.json", asset.id)))?;
    for file in &asset.files {
        fs::remove_file(folder.join(&file.name))?;
    }
    match fs::remove_dir(folder) {
        // Others lie there.
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
        _ => Ok(()),
    }
}

/// Takes back what was written of an asset that could not be kept.
pub(super) fn discard(folder: &Path, asset: &Asset) {
    let written = asset.files.iter().map(|file| file.name.clone());
    for name in written.chain([format!(".{}.tmp", asset.id)]) {
        match fs::remove_file(folder.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(name, %error, "a part of an asset is left");
            }
            _ => {}
        }
    }
}
