//! Factory reset that keeps the models, safe to cut at any instant.
//!
//! The request is a file on the data partition that goes last: a cut reset starts over at the next
//! boot and ends the same.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{Error, cmdline::Reset, encryption};

/// Name of the request on the data partition; it holds the word for the grade.
pub const REQUEST: &str = "factory-reset";
/// What the smaller grade keeps.
const KEPT: &str = "var/lib/actionbooster/models";

/// The reset that is asked for on the data partition, if any. Any other word asks for nothing.
pub fn requested(data: &Path) -> Option<Reset> {
    fs::read_to_string(data.join(REQUEST)).ok().as_deref().and_then(Reset::parse)
}

/// Writes the request down, so that a cut does not lose it.
pub fn request(data: &Path, grade: Reset) -> Result<(), Error> {
    let path = data.join(REQUEST);
    fs::write(&path, grade.word()).map_err(Error::file("write", &path))?;
    sync(&path)?;
    sync(data)
}

/// Removes everything but the models, and then the request.
pub fn clear_settings(data: &Path) -> Result<(), Error> {
    let also = [data.join(REQUEST), data.join("lost+found"), encryption::kept(data)];
    clear(data, &data.join(KEPT), &also)?;
    nix::unistd::sync();
    withdraw(data)
}

/// Takes a request away.
pub fn withdraw(data: &Path) -> Result<(), Error> {
    let path = data.join(REQUEST);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", path)(error)),
        _ => sync(data),
    }
}

/// Empties `folder` except for the way to `kept`, `kept` itself and `also`.
fn clear(folder: &Path, kept: &Path, also: &[PathBuf]) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::file("list", folder))? {
        let entry = entry.map_err(Error::file("list", folder))?;
        let path = entry.path();
        let is_folder = entry.file_type().map_err(Error::file("look at", &path))?.is_dir();
        if path == kept || also.contains(&path) {
            continue;
        }
        if is_folder && kept.starts_with(&path) {
            clear(&path, kept, also)?;
        } else if is_folder {
            fs::remove_dir_all(&path).map_err(Error::file("remove", &path))?;
        } else {
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
    }
    Ok(())
}

fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::file("write out", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        for file in [
            "var/lib/actionbooster/models/big/model.gguf",
            "var/lib/actionbooster/auth/auth.db",
            "var/log/journal/x/system.journal",
            "etc-overlay/upper/hostname",
            "lost+found/#12",
            "recovery-key",
        ] {
            let path = data.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        data
    }

    #[test]
    fn models_stay_and_the_rest_goes() {
        let data = data();
        request(data.path(), Reset::Settings).unwrap();
        assert_eq!(requested(data.path()), Some(Reset::Settings));
        clear_settings(data.path()).unwrap();
        assert!(data.path().join("var/lib/actionbooster/models/big/model.gguf").exists());
        assert!(data.path().join("lost+found/#12").exists());
        assert!(data.path().join("recovery-key").exists(), "what opens the partition");
        for gone in ["var/lib/actionbooster/auth", "var/log", "etc-overlay", REQUEST] {
            assert!(!data.path().join(gone).exists(), "{gone}");
        }
    }

    #[test]
    fn a_reset_that_was_cut_is_finished_by_the_next() {
        let data = data();
        request(data.path(), Reset::Settings).unwrap();
        fs::remove_dir_all(data.path().join("etc-overlay")).unwrap();
        assert_eq!(requested(data.path()), Some(Reset::Settings));
        clear_settings(data.path()).unwrap();
        clear_settings(data.path()).unwrap();
        assert_eq!(requested(data.path()), None);
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let (data, outside) = (data(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("precious"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), data.path().join("var/link")).unwrap();
        clear_settings(data.path()).unwrap();
        assert!(outside.path().join("precious").exists());
        assert!(!data.path().join("var/link").exists());
    }

    #[test]
    fn an_unknown_word_asks_for_nothing() {
        let data = data();
        fs::write(data.path().join(REQUEST), "all of it").unwrap();
        assert_eq!(requested(data.path()), None);
    }
}
