//! Every account has a number that is the same in every image.
//!
//! The data partition outlives slots, and what is on it belongs to numbers. Debian's packages take
//! the next free one when they are installed, so the order of an installation would decide whose a
//! file is.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::{Lint, Severity, Subject};

/// Where our own definitions are; only they carry numbers.
const DEFINITIONS: &str = "usr/lib/sysusers.d";
/// Debian's own fixed numbers are below, and that of nobody.
const FIRST_DYNAMIC: u32 = 100;
const NOBODY: u32 = 65534;

pub const LINT: Lint = Lint {
    name: "numbers",
    promise: "accounts, and what belongs to them, have fixed numbers",
    severity: Severity::Fatal,
    check,
};

/// Numbers of users and groups by name.
#[derive(Default)]
struct Fixed<'a> {
    users: BTreeMap<&'a str, u32>,
    groups: BTreeMap<&'a str, u32>,
}

fn check(subject: &Subject) -> Result<Vec<String>> {
    let tree = &subject.tree;
    let mut fixed = Fixed::default();
    for path in tree.files(DEFINITIONS, ".conf") {
        fixed.add(tree.text(path)?);
    }
    let mut found = Vec::new();
    for (path, fixed) in [("etc/passwd", &fixed.users), ("etc/group", &fixed.groups)] {
        for (name, number) in accounts(tree.text(path)?)? {
            if is_dynamic(number) && fixed.get(name) != Some(&number) {
                found.push(format!(
                    "{name} has the number {number} in /{path}, which sysusers.d does not fix"
                ));
            }
        }
    }
    let users: Vec<u32> = fixed.users.values().copied().collect();
    let groups: Vec<u32> = fixed.groups.values().copied().collect();
    for (path, entry) in tree.entries() {
        let stray = |number: u32, known: &[u32]| is_dynamic(number) && !known.contains(&number);
        if stray(entry.user, &users) || stray(entry.group, &groups) {
            found.push(format!("/{path} belongs to {}:{}, which nobody has", entry.user, entry.group));
        }
    }
    Ok(found)
}

fn is_dynamic(number: u32) -> bool {
    number >= FIRST_DYNAMIC && number != NOBODY
}

/// Name and number of each line of `/etc/passwd` or `/etc/group`.
fn accounts(text: &str) -> Result<Vec<(&str, u32)>> {
    let lines = text.lines().map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next(), fields.nth(1));
        let number = number.and_then(|number| number.parse().ok());
        name.zip(number).with_context(|| format!("not an account: {line:?}"))
    });
    lines.collect()
}

impl<'a> Fixed<'a> {
    /// Takes in the lines of a file of sysusers.d (sysusers.d(5)) that give numbers.
    fn add(&mut self, text: &'a str) {
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(kind), Some(name), Some(id)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let (user, group) = id.split_once(':').unwrap_or((id, id));
            match kind.trim_end_matches('!') {
                "u" => {
                    self.users.extend(user.parse().map(|number| (name, number)));
                    self.groups.extend(group.parse().map(|number| (name, number)));
                }
                "g" => self.groups.extend(group.parse().map(|number| (name, number))),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/bash\nwww-data:x:33:33::/:/bin/false\n\
                          booster:x:810:810::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n";
    const GROUP: &str = "root:x:0:\nbooster:x:810:\nnogroup:x:65534:\nrender:x:805:\n";

    fn findings(passwd: &str, group: &str, definitions: &str, owner: (u32, u32)) -> Vec<String> {
        let tree = Tree::default()
            .file("etc/passwd", 0o644, passwd)
            .file("etc/group", 0o644, group)
            .file("usr/lib/sysusers.d/a.conf", 0o644, definitions)
            .owned("usr/bin/x", 0o755, owner, "");
        check(&Subject::of(tree)).unwrap()
    }

    #[test]
    fn numbers_that_a_definition_fixes_pass() {
        let definitions =
            "# comment\ng render 805 -\nu booster 810:810 \"Name\" / /bin/false\nm booster video\n";
        assert!(findings(PASSWD, GROUP, definitions, (0, 810)).is_empty());
    }

    #[test]
    fn others_are_named() {
        let whole = "g render 805 -\nu booster 810 -\n";
        for (definitions, owner, wanted) in [
            ("g render 805 -\nu! booster - -\n", (0, 0), "booster has the number 810 in /etc/passwd"),
            ("g render - -\nu booster 810 -\n", (0, 0), "render has the number 805"),
            ("g render 806 -\nu booster 810 -\n", (0, 0), "render has the number 805"),
            (whole, (997, 0), "/usr/bin/x belongs to 997:0"),
            (whole, (0, 1000), "/usr/bin/x belongs to 0:1000"),
        ] {
            let found = findings(PASSWD, GROUP, definitions, owner);
            assert!(found.iter().any(|line| line.starts_with(wanted)), "{definitions} {found:?}");
        }
    }
}
