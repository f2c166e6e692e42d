//! Out of the store: by one rename, then its bytes.

use std::fs;
use std::io;
use std::path::Path;

use super::Store;
use crate::error::StoreError;
use crate::model::Model;

/// What is being removed is called so; no model is.
const TRASH: &str = ".trash-";

impl Store {
    /// Removes an owner's model.
    pub fn remove(&self, model: &Model) -> Result<(), StoreError> {
        if model.built_in {
            return Err(StoreError::BuiltIn(model.manifest.id.clone()));
        }
        self.discard(&model.folder).map_err(|source| StoreError::Write { path: model.folder.clone(), source })
    }

    /// Renames a folder away and removes it; [`Store::empty_trash`] ends what a power cut interrupts. Makes nothing
    /// new, so that a model can be removed from a disk that has no room for one more file.
    pub(crate) fn discard(&self, folder: &Path) -> io::Result<()> {
        let trash = self.own().join(format!("{TRASH}{:016x}", rand::random::<u64>()));
        fs::rename(folder, &trash)?;
        remove_all(&trash)
    }

    /// Removes what was being removed when the power went.
    pub(crate) fn empty_trash(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.own()).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(TRASH) {
                remove_all(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Removes a folder that somebody else may be removing too.
fn remove_all(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
