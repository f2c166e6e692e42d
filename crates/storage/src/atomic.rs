//! Files that are whole or as they were, whatever happens while they are written.
//!
//! A file is written beside its place as `.NAME.new`, synced and renamed, and its folder is synced. What a cut
//! leaves under that name goes with the next write. It may also be a link that somebody set as a trap, so it is
//! removed and never opened.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use nix::fcntl::OFlag;

/// Replaces a file, in a folder that is there. The umask says who may read it.
pub fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    replace(path, 0o666, contents, |_| Ok(()))
}

/// Replaces a file by one that only its owner may read, unless `grant` changes that before the file has its name.
pub fn write_private(
    path: &Path,
    contents: &[u8],
    grant: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    replace(path, 0o600, contents, grant)
}

/// Replaces whatever is at `path` by a symbolic link.
pub fn link(path: &Path, target: &Path) -> io::Result<()> {
    let temporary = Temporary::of(path)?;
    symlink(target, &temporary.path)?;
    temporary.put(path)
}

/// Removes a file; it may be gone already, and its folder too.
pub fn remove(path: &Path) -> io::Result<()> {
    remove_if_there(path)?;
    match sync_folder(folder_of(path)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes what was made, renamed or removed in a folder last.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // The file systems of other machines (CIFS, FUSE) may have no such call for folders.
        Err(error) if error.kind() != ErrorKind::InvalidInput => Err(error),
        _ => Ok(()),
    }
}

fn replace(
    path: &Path,
    mode: u32,
    contents: &[u8],
    grant: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = Temporary::of(path)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(&temporary.path)?;
    file.write_all(contents)?;
    grant(&file)?;
    file.sync_all()?;
    temporary.put(path)
}

/// The name beside a file's place. Dropped, it is free again, also of half a file: a full disk should keep none.
struct Temporary {
    path: PathBuf,
    _turn: Turn,
}

impl Temporary {
    fn of(path: &Path) -> io::Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a path without the name of a file"))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".new");
        let path = path.with_file_name(hidden);
        let turn = Turn::wait(&path);
        remove_if_there(&path)?;
        Ok(Self { path, _turn: turn })
    }

    fn put(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        sync_folder(folder_of(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // The next write tries again.
        _ = remove_if_there(&self.path);
    }
}

/// Of two threads that write the same file, one waits: they would share the temporary one.
struct Turn(PathBuf);

static WRITTEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static FREED: Condvar = Condvar::new();

impl Turn {
    fn wait(path: &Path) -> Self {
        let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut written = FREED
            .wait_while(written, |written| written.contains(path))
            .unwrap_or_else(PoisonError::into_inner);
        written.insert(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        FREED.notify_all();
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").file_name());
        entries.map(|name| name.into_string().expect("text")).collect()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_with_the_access_asked_for() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        write(&path, b"one").expect("written");
        let plain = folder.path().join("plain");
        fs::write(&plain, "").expect("written");
        assert_eq!(mode(&path), mode(&plain), "as the umask says");
        write_private(&path, b"two", |file| {
            assert_eq!(file.metadata()?.permissions().mode() & 0o777, 0o600);
            Ok(())
        })
        .expect("written");
        assert_eq!((fs::read(&path).expect("read"), mode(&path)), (b"two".into(), 0o600));
        let readable = |file: &File| file.set_permissions(fs::Permissions::from_mode(0o644));
        write_private(&path, b"three", readable).expect("written");
        assert_eq!(mode(&path), 0o644);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        write(&path, b"old").expect("written");
        write_private(&path, b"new", |_| Err(io::Error::other("refused"))).expect_err("refused");
        assert_eq!(fs::read(&path).expect("read"), b"old");
        assert_eq!(names(folder.path()), ["file"]);
        fs::create_dir(folder.path().join("taken")).expect("folder");
        write(&folder.path().join("taken"), b"x").expect_err("a folder is there");
        assert_eq!(names(folder.path()).len(), 2);
        write(&folder.path().join("absent/file"), b"x").expect_err("no folder");
        write(Path::new("/"), b"x").expect_err("no name");
        assert_eq!(folder_of(Path::new("file")), Path::new("."));
    }

    #[test]
    fn what_a_cut_or_a_trap_left_under_the_temporary_name_is_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let (path, temporary) = (folder.path().join("file"), folder.path().join(".file.new"));
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").expect("written");
        fs::write(&temporary, "half").expect("written");
        write(&path, b"whole").expect("written");
        symlink(&victim, &temporary).expect("link");
        write(&path, b"whole").expect("written");
        fs::hard_link(&victim, &temporary).expect("link");
        link(&path, Path::new("elsewhere")).expect("linked");
        assert_eq!(fs::read_link(&path).expect("a link"), Path::new("elsewhere"));
        assert_eq!(fs::read_to_string(&victim).expect("read"), "precious");
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn two_who_write_the_same_file_leave_a_whole_one() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        thread::scope(|scope| {
            for letter in *b"abcd" {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        write(path, &vec![letter; 100_000]).expect("written");
                        let read = fs::read(path).expect("read");
                        assert!(read.len() == 100_000 && read.iter().all(|other| *other == read[0]));
                    }
                });
            }
        });
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn what_is_gone_already_is_removed_too() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        write(&path, b"x").expect("written");
        remove(&path).expect("removed");
        remove(&path).expect("gone already");
        remove(&folder.path().join("absent/file")).expect("gone with its folder");
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
