//! The store: one folder a model, built-in ones with the image, the owner's on the data partition.

mod removal;
mod settings;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::manifest::is_id;
use crate::model::Model;

/// The folders that hold models.
#[derive(Debug, Clone)]
pub struct Store {
    built_in: PathBuf,
    own: PathBuf,
}

impl Store {
    /// A store of the image's models in `built_in` and the owner's in `own`.
    pub fn new(built_in: PathBuf, own: PathBuf) -> Self {
        Self { built_in, own }
    }

    /// The folder of the owner's models.
    pub(crate) fn own(&self) -> &Path {
        &self.own
    }

    /// Every model by id, and what is wrong with the others. The owner's model hides a built-in one of the same id.
    pub fn list(&self) -> (BTreeMap<String, Model>, Vec<StoreError>) {
        let mut models = BTreeMap::new();
        let mut errors = Vec::new();
        for (folder, built_in) in [(&self.built_in, true), (&self.own, false)] {
            let entries = match std::fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(source) => {
                    errors.push(StoreError::Read { path: folder.clone(), source });
                    continue;
                }
            };
            let mut folders: Vec<PathBuf> = entries
                .filter_map(Result::ok)
                .map(|entry| entry.path())
                .filter(|path| path.is_dir())
                .collect();
            folders.sort();
            for folder in folders {
                match at(&folder, built_in) {
                    Ok(Some(model)) => {
                        models.insert(model.manifest.id.clone(), model);
                    }
                    Ok(None) => {}
                    Err(error) => errors.push(error),
                }
            }
        }
        (models, errors)
    }

    /// The model of this id, or what is wrong with it. The owner's model hides a built-in one, unless
    /// its manifest cannot be read.
    pub fn open(&self, id: &str) -> Result<Model, StoreError> {
        let missing = || StoreError::Missing(id.to_owned());
        if !is_id(id) {
            return Err(missing());
        }
        let mut problem = None;
        for (store, built_in) in [(&self.own, false), (&self.built_in, true)] {
            let folder = store.join(id);
            if !folder.is_dir() {
                continue;
            }
            match at(&folder, built_in) {
                Ok(Some(model)) => return Ok(model),
                Ok(None) => {}
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        Err(problem.unwrap_or_else(missing))
    }
}

/// Folders that are not named like a model (lost+found, half imports) are passed over.
fn at(folder: &Path, built_in: bool) -> Result<Option<Model>, StoreError> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !is_id(&name) || name == "lost+found" {
        return Ok(None);
    }
    let model = Model::open(folder, built_in)?;
    if model.manifest.id != name {
        return Err(StoreError::Misplaced { path: folder.join("manifest.toml"), id: model.manifest.id });
    }
    Ok(Some(model))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::add;

    #[test]
    fn one_bad_model_does_not_hide_the_others() {
        let root = tempfile::tempdir().expect("folder");
        let (vendor, own) = (root.path().join("vendor"), root.path().join("own"));
        add(&vendor, "guide", "guide", b"x", 1);
        add(&own, "guide", "guide", b"y", 1);
        add(&own, "renamed", "other", b"x", 1);
        std::fs::create_dir_all(own.join("empty")).expect("folder");
        std::fs::create_dir_all(own.join(".partial-import")).expect("folder");
        let (models, errors) = Store::new(vendor, own).list();
        assert_eq!(models.keys().collect::<Vec<_>>(), ["guide"]);
        assert!(!models["guide"].built_in, "the owner's model wins");
        assert_eq!(errors.len(), 2, "{errors:?}");
    }

    #[test]
    fn a_model_is_opened_by_its_id_or_refused_with_the_reason() {
        let root = tempfile::tempdir().expect("folder");
        let (vendor, own) = (root.path().join("vendor"), root.path().join("own"));
        add(&vendor, "guide", "guide", b"x", 1);
        add(&own, "renamed", "other", b"x", 1);
        std::fs::create_dir_all(own.join("guide")).expect("folder");
        std::fs::create_dir_all(own.join("large")).expect("folder");
        std::fs::write(own.join("large/manifest.toml"), vec![b'#'; 1 << 17]).expect("manifest");
        let store = Store::new(vendor, own);
        let guide = store.open("guide").expect("opens");
        assert!(guide.built_in, "an owner's folder without a manifest hides nothing");
        let refused = [
            ("renamed", "says its id is other"),
            ("large", "at most 64 KiB"),
            ("absent", "no model absent"),
            ("../guide", "no model ../guide"),
        ];
        for (id, reason) in refused {
            let error = store.open(id).expect_err(id).to_string();
            assert!(error.contains(reason), "{id}: {error}");
        }
    }

    #[test]
    fn a_missing_store_is_empty() {
        let (models, errors) = Store::new("/nowhere/a".into(), "/nowhere/b".into()).list();
        assert!(models.is_empty() && errors.is_empty());
    }
}
