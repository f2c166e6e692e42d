//! A model of the store under another id.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use actionbooster_storage::{Space, atomic};

use super::FOLDER;
use super::announcement::{Wanted, extension, id_of};
use super::error::{IncomingError, io_error};
use crate::manifest::Manifest;
use crate::model::Model;
use crate::store::Store;

impl Store {
    /// The same model under another id. Its bytes are shared where the file system allows it.
    pub fn copy(&self, model: &Model, id: &str) -> Result<Model, IncomingError> {
        let wanted =
            Wanted { id: Some(id.to_owned()), ..Wanted::new(String::new(), model.manifest.size_bytes) };
        let id = id_of(&wanted)?;
        let target = self.own().join(&id);
        if self.open(&id).is_ok() || target.exists() {
            return Err(IncomingError::Taken(id));
        }
        let cannot = "cannot copy the model";
        let folder = self.staging().map_err(io_error(cannot))?;
        let manifest = Manifest {
            file: format!("{id}.{}", extension(&model.manifest.file)),
            id,
            ..model.manifest.clone()
        };
        let copied = (|| {
            let file = folder.join(&manifest.file);
            fs::hard_link(model.file(), &file).or_else(|_| {
                Space::of(&folder)?.room_for(model.manifest.size_bytes, 0)?;
                fs::copy(model.file(), &file).map(drop)
            })?;
            File::open(&file)?.sync_all()?;
            let text = toml::to_string(&manifest).map_err(io::Error::other)?;
            atomic::write(&folder.join("manifest.toml"), text.as_bytes())?;
            fs::rename(&folder, &target)?;
            atomic::sync_folder(self.own())
        })();
        if copied.is_err() {
            // `tidy` removes what cannot be removed now when it is old.
            let _ = fs::remove_dir_all(&folder);
        }
        copied.map_err(io_error(cannot))?;
        Ok(Model::open(&target, false)?)
    }

    /// A new folder where a copy grows.
    pub(super) fn staging(&self) -> io::Result<PathBuf> {
        let folder = self.own().join(FOLDER).join(format!("copy-{:016x}", rand::random::<u64>()));
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}
