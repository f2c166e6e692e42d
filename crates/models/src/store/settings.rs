//! The owner's settings for each model, in a file beside the models.

use std::path::PathBuf;

use actionbooster_storage::atomic;

use super::Store;
use crate::error::StoreError;
use crate::manifest::is_id;
use crate::settings::ModelSettings;

/// Folder of the owner's store with a file per model, built-in ones included. It was named when settings were
/// called choices; every version finds them there.
const FOLDER: &str = ".choices";

impl Store {
    /// The owner's settings for a model; none are the default.
    pub fn settings(&self, id: &str) -> Result<ModelSettings, StoreError> {
        let Some(path) = self.settings_file(id) else { return Err(StoreError::Missing(id.to_owned())) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ModelSettings::default()),
            Err(source) => return Err(StoreError::Read { path, source }),
        };
        toml::from_str(&text).map_err(|error| StoreError::Settings { path, reason: error.to_string() })
    }

    /// Keeps the owner's settings for a model, whole or not at all.
    pub fn set_settings(&self, id: &str, settings: &ModelSettings) -> Result<(), StoreError> {
        let Some(path) = self.settings_file(id) else { return Err(StoreError::Missing(id.to_owned())) };
        let wrong = |reason| StoreError::Settings { path: path.clone(), reason };
        settings.options.check().map_err(wrong)?;
        let text = toml::to_string(settings).map_err(|error| wrong(error.to_string()))?;
        let written = std::fs::create_dir_all(self.own().join(FOLDER))
            .and_then(|()| atomic::write(&path, text.as_bytes()));
        written.map_err(|source| StoreError::Write { path: path.clone(), source })
    }

    fn settings_file(&self, id: &str) -> Option<PathBuf> {
        is_id(id).then(|| self.own().join(FOLDER).join(format!("{id}.toml")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ModelOptions;

    #[test]
    fn settings_are_kept_and_damaged_ones_are_told() {
        let root = tempfile::tempdir().expect("folder");
        let store = Store::new("/nowhere".into(), root.path().into());
        assert_eq!(store.settings("m").expect("none"), ModelSettings::default());
        let options = ModelOptions {
            keep_alive_s: Some(0),
            system: Some("Be brief.".into()),
            ..ModelOptions::default()
        };
        let settings = ModelSettings { pinned: true, options };
        store.set_settings("m", &settings).expect("kept");
        assert_eq!(store.settings("m").expect("read"), settings);
        let wrong = ModelOptions { temperature: Some(3.0), ..ModelOptions::default() };
        let refused = store.set_settings("m", &ModelSettings { options: wrong, ..settings.clone() });
        assert!(refused.expect_err("no model can").to_string().contains("temperature"));
        assert_eq!(store.settings("m").expect("read"), settings);
        assert!(store.settings("../m").is_err());
        std::fs::write(root.path().join(".choices/m.toml"), "pinned = 3").expect("write");
        assert!(store.settings("m").expect_err("damaged").to_string().contains("pinned"));
    }
}
