//! Programs that give their caller somebody else's rights.

use anyhow::Result;

use super::tree::Kind;
use super::{Lint, Severity, Subject};

const SETUID_OR_SETGID: u32 = 0o6000;

/// The owner's shell has no password to ask for, so `su` and its kin serve nobody.
const ALLOWED: &[&str] = &["usr/bin/sudo"];

pub const LINT: Lint = Lint {
    name: "setuid",
    promise: "nothing but sudo is setuid or setgid",
    severity: Severity::Fatal,
    check,
};

#[expect(clippy::unnecessary_wraps, reason = "as the registry wants it")]
fn check(subject: &Subject) -> Result<Vec<String>> {
    let found = subject
        .tree
        .entries()
        .filter(|(path, entry)| {
            entry.kind == Kind::File && entry.mode & SETUID_OR_SETGID != 0 && !ALLOWED.contains(path)
        })
        .map(|(path, entry)| format!("/{path} has the mode {:04o}", entry.mode));
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;

    #[test]
    fn only_sudo_may_be_setuid() {
        let tree = Tree::default()
            .file("usr/bin/sudo", 0o4755, "")
            .file("usr/bin/cat", 0o755, "")
            .folder("usr/local/shared", 0o2775);
        assert!(check(&Subject::of(tree)).unwrap().is_empty());
        let tree = Tree::default().file("usr/bin/su", 0o4755, "").file("usr/bin/ssh-agent", 0o2755, "");
        assert_eq!(
            check(&Subject::of(tree)).unwrap(),
            ["/usr/bin/ssh-agent has the mode 2755", "/usr/bin/su has the mode 4755"]
        );
    }
}
