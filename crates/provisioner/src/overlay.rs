//! What the box's side of `/etc` hides of the slot's.
//!
//! `/etc` is an overlay. A file that was changed on the box stays as it is through every update,
//! also where a later version needs it otherwise, so the owner should know which these are.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::layout::Layout;

/// What was written on the box.
const UPPER: &str = "data/etc-overlay/upper";
/// What the slot holds; `run-actionbooster-slot.mount` shows it.
const LOWER: &str = "run/actionbooster/slot/etc";
/// More would help nobody.
const MOST: usize = 100;

/// Changed on every box: by this program and by systemd, which completes the user database at every
/// boot, whatever it was.
const EXPECTED: &[&str] = &[
    ".pwd.lock",
    "adjtime",
    "default/ufw",
    "group",
    "group-",
    "gshadow",
    "gshadow-",
    "hostname",
    "hosts",
    "localtime",
    "machine-id",
    "passwd",
    "passwd-",
    "shadow",
    "shadow-",
    "subgid",
    "subuid",
    "systemd/zram-generator.conf",
    "timezone",
    "ufw/ufw.conf",
    "ufw/user.rules",
    "ufw/user6.rules",
];

/// Files of the slot that cannot be seen, because the box has one of its own or removed them; by
/// their paths below `/etc`.
pub fn hidden(layout: &Layout) -> Vec<String> {
    let (upper, lower) = (layout.at(UPPER), layout.at(LOWER));
    let mut found = Vec::new();
    if lower.is_dir() {
        collect(&upper, &lower, Path::new(""), &mut found);
    }
    found.retain(|path| !EXPECTED.contains(&path.as_str()));
    found.sort();
    found.truncate(MOST);
    found
}

/// Unreadable folders hide nothing that could be told.
fn collect(upper: &Path, lower: &Path, folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(upper.join(folder)) else { return };
    for entry in entries.flatten() {
        let path = folder.join(entry.file_name());
        let (mine, slots) = (upper.join(&path), lower.join(&path));
        let (Ok(own), Ok(original)) = (mine.symlink_metadata(), slots.symlink_metadata()) else { continue };
        if own.is_dir() && original.is_dir() {
            collect(upper, lower, &path, found);
        } else if is_removed(&own) || differ(&mine, &slots, own.len() == original.len()) {
            found.push(path.display().to_string());
        }
    }
}

/// An overlay keeps a device 0:0 in the place of what was removed.
fn is_removed(entry: &fs::Metadata) -> bool {
    entry.file_type().is_char_device() && entry.rdev() == 0
}

fn differ(mine: &Path, slots: &Path, as_long: bool) -> bool {
    let target = |path: &Path| -> Option<PathBuf> { fs::read_link(path).ok() };
    match (target(mine), target(slots)) {
        (None, None) => !as_long || fs::read(mine).ok() != fs::read(slots).ok(),
        (mine, slots) => mine != slots,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_differs_from_the_slot_is_told() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (name, upper, lower) in [
            ("same", Some("a"), Some("a")),
            ("as-long", Some("a"), Some("b")),
            ("longer", Some("aa"), Some("a")),
            ("new", Some("a"), None),
            ("deep/down", Some("a"), Some("b")),
            ("passwd", Some("a"), Some("b")),
            ("ufw/user.rules", Some("a"), Some("b")),
            ("untouched", None, Some("b")),
            ("now-a-link", None, Some("b")),
        ] {
            for (side, text) in [(UPPER, upper), (LOWER, lower)] {
                if let Some(text) = text {
                    write(&format!("{side}/{name}"), text);
                }
            }
        }
        symlink("elsewhere", root.path().join(UPPER).join("now-a-link")).unwrap();
        let hidden = hidden(&Layout::new(root.path()));
        assert_eq!(hidden, ["as-long", "deep/down", "longer", "now-a-link"]);
    }

    #[test]
    fn without_a_view_of_the_slot_nothing_is_told() {
        let root = tempfile::tempdir().unwrap();
        assert!(hidden(&Layout::new(root.path())).is_empty());
    }
}
