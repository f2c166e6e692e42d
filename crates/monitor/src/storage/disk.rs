//! Whether the data partition can be written, asked of the mount and of the file system's own counters.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use actionbooster_chassis::Paths;
use actionbooster_storage::Space;
use nix::sys::stat::{major, minor};

/// Where the kernel tells about devices and file systems.
const SYS: &str = "/sys";

/// The file system that holds the state.
#[derive(Debug)]
pub(super) struct Disk {
    /// A folder of it that this daemon may write: elsewhere its sandbox is read-only by itself.
    folder: PathBuf,
    /// The initrd's words when the partition could not be used at all.
    marker: PathBuf,
    sys: PathBuf,
}

impl Disk {
    pub(super) fn of(paths: &Paths) -> Self {
        Self {
            folder: paths.state().join("auth"),
            marker: paths.runtime().join("data-damaged"),
            sys: SYS.into(),
        }
    }

    pub(super) fn space(&self) -> std::io::Result<Space> {
        Space::of(&self.folder)
    }

    /// What is wrong with the partition, in words, and what to do.
    pub(super) fn trouble(&self, space: Option<&Space>) -> Option<String> {
        if let Ok(reason) = std::fs::read_to_string(&self.marker) {
            return Some(format!("the data partition is damaged: {}", reason.trim()));
        }
        if space.is_some_and(|space| space.read_only) {
            return Some(
                "the data partition is read-only: nothing can be saved. Restart the box: the partition is \
                 checked and repaired at the start"
                    .into(),
            );
        }
        // Since 6.12 the kernel refuses writes after an error without calling the mount read-only.
        let errors = errors(&self.sys, &self.folder)?;
        let plural = if errors == 1 { "an error" } else { "errors" };
        Some(format!(
            "the file system of the data partition met {plural} ({errors}), and may refuse to save anything. \
             Restart the box: the partition is checked and repaired at the start"
        ))
    }
}

/// Errors of an ext4 file system since it was checked last; none is nothing, and so is another file system.
fn errors(sys: &Path, folder: &Path) -> Option<u64> {
    let device = folder.metadata().ok()?.dev();
    let link = sys.join(format!("dev/block/{}:{}", major(device), minor(device)));
    let name = link.canonicalize().ok()?.file_name()?.to_owned();
    let count = std::fs::read_to_string(sys.join("fs/ext4").join(name).join("errors_count")).ok()?;
    count.trim().parse().ok().filter(|errors| *errors > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn space(read_only: bool) -> Space {
        Space {
            total_bytes: GIB,
            free_bytes: GIB / 2,
            reserved_bytes: 0,
            total_inodes: 1000,
            free_inodes: 900,
            read_only,
        }
    }

    /// A disk whose kernel tells what `errors_count` says.
    fn disk(errors_count: Option<&str>) -> (tempfile::TempDir, Disk) {
        let root = tempfile::tempdir().expect("folder");
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir_all(path("state")).expect("folder");
        let device = path("state").metadata().expect("there").dev();
        std::fs::create_dir_all(path("sys/devices/vda/vda4")).expect("folder");
        std::fs::create_dir_all(path("sys/dev/block")).expect("folder");
        let link = path("sys/dev/block").join(format!("{}:{}", major(device), minor(device)));
        std::os::unix::fs::symlink(path("sys/devices/vda/vda4"), link).expect("link");
        if let Some(count) = errors_count {
            std::fs::create_dir_all(path("sys/fs/ext4/vda4")).expect("folder");
            std::fs::write(path("sys/fs/ext4/vda4/errors_count"), count).expect("written");
        }
        let disk = Disk { folder: path("state"), marker: path("data-damaged"), sys: path("sys") };
        (root, disk)
    }

    #[test]
    fn a_partition_that_cannot_be_written_is_never_called_well() {
        for (name, errors, read_only, expected) in [
            ("well", Some("0\n"), false, None),
            ("another file system", None, false, None),
            ("read-only", Some("0\n"), true, Some("is read-only")),
            ("an error", Some("1\n"), false, Some("met an error (1)")),
            ("errors", Some("17\n"), false, Some("met errors (17)")),
        ] {
            let (_root, disk) = disk(errors);
            let trouble = disk.trouble(Some(&space(read_only)));
            match expected {
                None => assert_eq!(trouble, None, "{name}"),
                Some(words) => {
                    let told = trouble.expect(name);
                    assert!(told.contains(words) && told.contains("Restart the box"), "{name}: {told}");
                }
            }
        }
        let (root, disk) = disk(Some("0\n"));
        std::fs::write(root.path().join("data-damaged"), "no superblock\n").expect("written");
        assert_eq!(disk.trouble(None).as_deref(), Some("the data partition is damaged: no superblock"));
    }
}
