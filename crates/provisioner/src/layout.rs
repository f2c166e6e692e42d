//! Where everything is, below one root.

use std::path::{Path, PathBuf};

/// Paths of the files that are read and written.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below a root folder.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root, given without its first slash.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The same path as seen from inside the root, for messages and commands.
    pub fn inside(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).map_or_else(|_| path.to_path_buf(), |rest| Path::new("/").join(rest))
    }

    /// The product's own data: modes, boards, firmware.
    pub fn vendor(&self) -> PathBuf {
        self.at("usr/share/actionbooster")
    }

    /// A file of the running system, gone at the next boot.
    pub fn run(&self, name: &str) -> PathBuf {
        self.at("run/actionbooster").join(name)
    }

    /// A file of the product's state on the data partition.
    pub fn state(&self, name: &str) -> PathBuf {
        self.at("var/lib/actionbooster").join(name)
    }
}
