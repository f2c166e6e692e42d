//! One hash over files and folders, to know whether something must be built again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::builder::hex;

/// The hash of names, modes, link targets and contents below `roots`, in order.
pub fn of(roots: &[&Path]) -> Result<String> {
    let mut hasher = Sha256::new();
    for (place, root) in roots.iter().enumerate() {
        let mut paths = Vec::new();
        collect(root, &mut paths)?;
        paths.sort();
        for path in paths {
            let name = path.strip_prefix(root)?;
            hasher.update(format!("{place} {} ", name.display()));
            add(&mut hasher, &path).with_context(|| format!("cannot read {}", path.display()))?;
        }
    }
    Ok(hex(&hasher.finalize()))
}

fn add(hasher: &mut Sha256, path: &Path) -> Result<()> {
    let data = fs::symlink_metadata(path)?;
    if data.is_symlink() {
        hasher.update(format!("link {}\n", fs::read_link(path)?.display()));
        return Ok(());
    }
    hasher.update(format!("{:o} {}\n", data.permissions().mode(), data.len()));
    io::copy(&mut File::open(path)?, &mut Writer(hasher))?;
    Ok(())
}

struct Writer<'a>(&'a mut Sha256);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let data = fs::symlink_metadata(path).with_context(|| format!("cannot find {}", path.display()))?;
    if !data.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        collect(&entry?.path(), found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_kind_of_change_shows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/file");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "one").unwrap();
        let mut seen = vec![of(&[folder.path()]).unwrap()];
        assert_eq!(seen[0], of(&[folder.path()]).unwrap());
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(&file, "two").unwrap(),
            &|| fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap(),
            &|| symlink("nowhere", folder.path().join("link")).unwrap(),
            &|| fs::rename(&file, folder.path().join("a/renamed")).unwrap(),
        ];
        for change in changes {
            change();
            let now = of(&[folder.path()]).unwrap();
            assert!(!seen.contains(&now));
            seen.push(now);
        }
    }
}
