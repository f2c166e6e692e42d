//! Nobody can log in with a password, whatever a package brought.

use anyhow::Result;

use super::{Lint, Severity, Subject};

pub const LINT: Lint =
    Lint { name: "accounts", promise: "no account has a password", severity: Severity::Fatal, check };

fn check(subject: &Subject) -> Result<Vec<String>> {
    let unlocked = |line: &&str| {
        let password = line.split(':').nth(1).unwrap_or_default();
        !line.is_empty() && !password.starts_with(['!', '*'])
    };
    let mut found: Vec<String> = subject
        .tree
        .text("etc/shadow")?
        .lines()
        .filter(unlocked)
        .map(|line| format!("{} has a password, or needs none", line.split(':').next().unwrap_or(line)))
        .collect();
    // A password field other than x never looks into /etc/shadow.
    found.extend(
        subject
            .tree
            .text("etc/passwd")?
            .lines()
            .filter(|line| line.split(':').nth(1) != Some("x"))
            .map(|line| format!("/etc/passwd holds a password field of its own: {line}")),
    );
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;

    #[test]
    fn locked_accounts_pass_and_all_others_are_named() {
        let subject = |shadow: &str, passwd: &str| {
            Subject::of(Tree::default().file("etc/shadow", 0o640, shadow).file("etc/passwd", 0o644, passwd))
        };
        let passwd = "root:x:0:0::/root:/bin/bash\n";
        assert!(check(&subject("root:*:1::::::\na:!:1::::::\nb:!*:1::::::\n", passwd)).unwrap().is_empty());
        for shadow in ["root::1::::::\n", "root:$y$hash:1::::::\n"] {
            assert_eq!(check(&subject(shadow, passwd)).unwrap().len(), 1, "{shadow}");
        }
        assert_eq!(check(&subject("", "root::0:0::/root:/bin/bash\n")).unwrap().len(), 1);
        assert!(check(&Subject::of(Tree::default())).is_err());
    }
}
