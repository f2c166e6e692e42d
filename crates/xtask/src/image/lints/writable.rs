//! What everybody could change.

use anyhow::Result;

use super::tree::Kind;
use super::{Lint, Severity, Subject};

const BY_GROUP: u32 = 0o020;
const BY_OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

pub const LINT: Lint = Lint {
    name: "writable",
    promise: "nothing can be written by everybody, or by another group than root's",
    severity: Severity::Fatal,
    check,
};

/// `/etc` becomes writable through its overlay, so permissions count although the slot is read-only.
#[expect(clippy::unnecessary_wraps, reason = "as the registry wants it")]
fn check(subject: &Subject) -> Result<Vec<String>> {
    let found = subject.tree.entries().filter(|(_, entry)| match entry.kind {
        Kind::Link(_) => false,
        // As /tmp is: everybody may add, and remove one's own.
        Kind::Folder if entry.mode & STICKY != 0 => false,
        _ => entry.mode & BY_OTHERS != 0 || (entry.mode & BY_GROUP != 0 && entry.group != 0),
    });
    Ok(found.map(|(path, entry)| format!("/{path} has the mode {:04o}", entry.mode)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;

    #[test]
    fn what_everybody_can_write_is_named() {
        let good = Tree::default()
            .folder("tmp", 0o1777)
            .link("bin", "usr/bin")
            .file("etc/a", 0o664, "")
            .owned("etc/b", 0o640, (0, 42), "");
        assert!(check(&Subject::of(good)).unwrap().is_empty());
        let bad =
            Tree::default().folder("srv", 0o777).file("etc/a", 0o666, "").owned("etc/b", 0o660, (0, 42), "");
        assert_eq!(check(&Subject::of(bad)).unwrap().len(), 3);
    }
}
