//! What a folder takes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

/// As `st_blocks` counts, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;
/// Entries between two looks at the clock.
const STRIDE: u64 = 256;

/// What a file or a folder takes on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of its blocks; of a file with several names, each name's share.
    pub bytes: u64,
    /// Files and folders.
    pub files: u64,
    /// The time was up before everything was counted: there is more.
    pub partly: bool,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            files: self.files + other.files,
            partly: self.partly || other.partly,
        }
    }
}

/// Counts what `path` takes, until `deadline`. Links are not followed; what cannot be read is left out. Blocks.
pub fn measure(path: &Path, deadline: Instant) -> Usage {
    let mut usage = Usage::default();
    let Ok(top) = path.symlink_metadata() else { return usage };
    count(&mut usage, &top);
    let mut folders = if top.is_dir() { vec![path.to_owned()] } else { Vec::new() };
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            if usage.files.is_multiple_of(STRIDE) && Instant::now() >= deadline {
                usage.partly = true;
                return usage;
            }
            // It may have gone meanwhile.
            let Ok(about) = entry.metadata() else { continue };
            count(&mut usage, &about);
            if about.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    usage
}

fn count(usage: &mut Usage, about: &std::fs::Metadata) {
    let names = if about.is_dir() { 1 } else { about.nlink().max(1) };
    usage.bytes += about.blocks() * BLOCK_BYTES / names;
    usage.files += 1;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn files_folders_and_shared_files_are_counted_and_links_are_not_followed() {
        let root = tempfile::tempdir().expect("folder");
        let outside = tempfile::tempdir().expect("folder");
        std::fs::write(outside.path().join("large"), vec![1; 1 << 20]).expect("file");
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        std::fs::create_dir(&one).expect("folder");
        std::fs::create_dir(&two).expect("folder");
        std::fs::write(one.join("a"), vec![1; 256 << 10]).expect("file");
        std::fs::hard_link(one.join("a"), two.join("b")).expect("second name");
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).expect("link");
        let all = measure(root.path(), soon());
        assert_eq!((all.files, all.partly), (6, false));
        assert!((256 << 10..300 << 10).contains(&all.bytes), "{all:?}");
        let halves = measure(&one, soon()).and(measure(&two, soon()));
        assert!((256 << 10..300 << 10).contains(&halves.bytes), "{halves:?}");
        assert_eq!(measure(&root.path().join("nowhere"), soon()), Usage::default());
        assert_eq!(measure(&one.join("a"), soon()).files, 1);
    }

    #[test]
    fn counting_ends_when_the_time_is_up_and_says_so() {
        let root = tempfile::tempdir().expect("folder");
        for number in 0..2 * STRIDE {
            std::fs::write(root.path().join(number.to_string()), "x").expect("file");
        }
        let counted = measure(root.path(), Instant::now());
        assert!(counted.partly && counted.files <= STRIDE, "{counted:?}");
    }
}
