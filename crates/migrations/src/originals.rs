//! Copies of what a step touches, made before it runs.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use actionbooster_storage::atomic;

use crate::{Error, file};

/// Folder of the copies in the state folder.
pub const FOLDER: &str = ".migration";
/// In a set of copies: the paths that were there, and those that were not, one a line.
const KEPT: &str = "kept";
const ABSENT: &str = "absent";
const FILES: &str = "files";

/// The copies for the step to one version.
pub struct Originals<'a> {
    state: &'a Path,
    folder: PathBuf,
}

impl<'a> Originals<'a> {
    pub fn of(state: &'a Path, version: u32) -> Self {
        Self { state, folder: state.join(FOLDER).join(version.to_string()) }
    }

    /// Copies these paths aside, whole or not at all.
    pub fn keep(&self, paths: &[PathBuf]) -> Result<(), Error> {
        self.try_keep(paths).map_err(file("copy aside what a step of the data touches, to", &self.folder))
    }

    fn try_keep(&self, paths: &[PathBuf]) -> io::Result<()> {
        let partial = self.folder.with_extension("partial");
        remove(&partial)?;
        fs::create_dir_all(&partial)?;
        // What was secret stays so.
        fs::set_permissions(&partial, Permissions::from_mode(0o700))?;
        let (mut kept, mut absent) = (String::new(), String::new());
        for path in paths {
            let from = self.state.join(path);
            let there = from.symlink_metadata().is_ok();
            let list = if there { &mut kept } else { &mut absent };
            list.push_str(&path.display().to_string());
            list.push('\n');
            if there {
                copy(&from, &partial.join(FILES).join(path))?;
            }
        }
        fs::write(partial.join(KEPT), kept)?;
        fs::write(partial.join(ABSENT), absent)?;
        // Everything in one go: a sync for each file would take longer.
        nix::unistd::sync();
        fs::rename(&partial, &self.folder)?;
        self.sync_parent()
    }

    /// Puts everything back as it was, and may be cut and done again. False when there are no copies.
    pub fn put_back(&self) -> Result<bool, Error> {
        if !self.folder.exists() {
            return Ok(false);
        }
        self.try_put_back().map_err(file("put back", &self.folder))?;
        Ok(true)
    }

    fn try_put_back(&self) -> io::Result<()> {
        for path in fs::read_to_string(self.folder.join(ABSENT))?.lines() {
            remove(&self.state.join(path))?;
        }
        for path in fs::read_to_string(self.folder.join(KEPT))?.lines() {
            let to = self.state.join(path);
            remove(&to)?;
            copy(&self.folder.join(FILES).join(path), &to)?;
        }
        nix::unistd::sync();
        Ok(())
    }

    /// Forgets the copies.
    pub fn drop_them(&self) -> Result<(), Error> {
        if !self.folder.exists() {
            return Ok(());
        }
        // Out of sight first: half a set must not be put back.
        let gone = self.folder.with_extension("gone");
        let drop_them = || {
            remove(&gone)?;
            fs::rename(&self.folder, &gone)?;
            self.sync_parent()?;
            remove(&gone)
        };
        drop_them().map_err(file("remove", &self.folder))
    }

    fn sync_parent(&self) -> io::Result<()> {
        self.folder.parent().map_or(Ok(()), atomic::sync_folder)
    }
}

/// A file, link or folder with owner and mode. What is none of these (a socket) is left out.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let metadata = from.symlink_metadata()?;
    if metadata.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if metadata.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if metadata.is_file() {
        fs::copy(from, to)?;
    } else {
        return Ok(());
    }
    if nix::unistd::geteuid().is_root() {
        lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    if !metadata.is_symlink() {
        fs::set_permissions(to, metadata.permissions())?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let outcome = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
