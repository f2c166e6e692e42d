//! polkit's rules name units and actions exactly.
//!
//! systemd asks polkit about `StartTransientUnit` in the same words as about `StartUnit`, and who
//! makes a transient unit chooses its command and user. It refuses names that have a unit file. So
//! a rule that fits a name without one hands out root.

use anyhow::Result;

use super::tree::{Kind, Tree};
use super::{Lint, Severity, Subject};

const FOLDERS: &[&str] = &["usr/share/polkit-1/rules.d", "etc/polkit-1/rules.d"];
const UNITS: &str = "usr/lib/systemd/system";
const UNIT_ENDINGS: &[&str] =
    &["service", "socket", "target", "path", "timer", "mount", "automount", "swap", "slice", "scope"];
/// Ways of JavaScript to look at a part of a string.
const PARTIAL: &[&str] = &[
    "startsWith",
    "endsWith",
    "includes",
    "match",
    "search",
    "replace",
    "substring",
    "substr",
    "slice",
    "split",
    "charAt",
    "lastIndexOf",
    "RegExp",
];
/// What may stand between a template's name and `.service` in a regular expression: an instance.
const INSTANCE: &str = r"[A-Za-z0-9:_.\\-]+";

pub const LINT: Lint = Lint {
    name: "polkit",
    promise: "polkit's rules hold no patterns, and every unit they name has a file",
    severity: Severity::Fatal,
    check,
};

fn check(subject: &Subject) -> Result<Vec<String>> {
    let tree = &subject.tree;
    let mut found = Vec::new();
    for path in FOLDERS.iter().flat_map(|folder| tree.files(folder, ".rules")) {
        let script = Script::read(tree.text(path)?);
        found.extend(faults(&script, tree).into_iter().map(|fault| format!("/{path}: {fault}")));
    }
    Ok(found)
}

fn faults(script: &Script, tree: &Tree) -> Vec<String> {
    let mut found: Vec<String> = PARTIAL
        .iter()
        .filter(|method| words(&script.code).any(|word| word == **method))
        .map(|method| format!("{method} looks at a part of a name; list the names"))
        .collect();
    // Membership of a list is `>= 0`; `=== 0` asks for a beginning.
    let dense: String = script.code.split_whitespace().collect();
    if dense.contains(")===0") || dense.contains(")==0") {
        found.push("an index that is compared with 0 looks at a beginning; list the names".into());
    }
    for pattern in &script.patterns {
        match template(pattern) {
            Some(unit) if has_file(tree, &unit) => {}
            Some(unit) => found.push(format!("the template {unit} has no file")),
            None => found.push(format!("/{pattern}/ is more than the instances of one template")),
        }
    }
    let units = script.strings.iter().flat_map(|text| text.split_whitespace()).filter(|word| is_unit(word));
    found.extend(units.filter(|unit| !has_file(tree, unit)).map(|unit| format!("{unit} has no file")));
    found
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
}

fn is_unit(word: &str) -> bool {
    word.rsplit_once('.').is_some_and(|(name, ending)| !name.is_empty() && UNIT_ENDINGS.contains(&ending))
}

/// Whether a unit's file, or its template's, is in the slot. A link might be another unit's name.
fn has_file(tree: &Tree, unit: &str) -> bool {
    let is_file =
        |name: &str| tree.get(&format!("{UNITS}/{name}")).is_some_and(|entry| entry.kind == Kind::File);
    let of_template = || {
        let (prefix, rest) = unit.split_once('@')?;
        let (_, ending) = rest.rsplit_once('.')?;
        Some(is_file(&format!("{prefix}@.{ending}")))
    };
    is_file(unit) || of_template().unwrap_or(false)
}

/// The template of whose instances a regular expression consists, if it is one of these.
fn template(pattern: &str) -> Option<String> {
    let (prefix, rest) = pattern.strip_prefix('^')?.split_once('@')?;
    let plain = |character: char| character.is_ascii_lowercase() || character == '-';
    let ending = rest.strip_prefix(INSTANCE)?.strip_prefix(r"\.")?.strip_suffix('$')?;
    (prefix.chars().all(plain) && UNIT_ENDINGS.contains(&ending)).then(|| format!("{prefix}@.{ending}"))
}

/// A rule's JavaScript taken apart.
#[derive(Default)]
struct Script {
    /// Everything but comments, strings and regular expressions.
    code: String,
    strings: Vec<String>,
    patterns: Vec<String>,
}

impl Script {
    fn read(text: &str) -> Self {
        let mut script = Self::default();
        let mut rest = text.chars().peekable();
        while let Some(character) = rest.next() {
            match (character, rest.peek()) {
                ('/', Some('/')) => while rest.next().is_some_and(|next| next != '\n') {},
                ('/', Some('*')) => {
                    rest.next();
                    let mut last = ' ';
                    for next in rest.by_ref() {
                        if last == '*' && next == '/' {
                            break;
                        }
                        last = next;
                    }
                }
                ('"' | '\'', _) => script.strings.push(until(&mut rest, character)),
                // After a value it would divide; rules do not calculate.
                ('/', _) => script.patterns.push(until(&mut rest, '/')),
                _ => script.code.push(character),
            }
        }
        script
    }
}

/// Reads to an end that is not escaped. Escapes stay as they are written.
fn until(rest: &mut impl Iterator<Item = char>, end: char) -> String {
    let mut text = String::new();
    while let Some(character) = rest.next() {
        if character == end {
            break;
        }
        text.push(character);
        if character == '\\' {
            text.extend(rest.next());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(rule: &str) -> Vec<String> {
        let tree = Tree::default()
            .file("usr/share/polkit-1/rules.d/60-a.rules", 0o644, rule)
            .file("usr/lib/systemd/system/booster-a.service", 0o644, "")
            .file("usr/lib/systemd/system/booster-runner@.service", 0o644, "")
            .link("usr/lib/systemd/system/alias.service", "booster-a.service");
        check(&Subject::of(tree)).unwrap()
    }

    #[test]
    fn our_own_rules_pass() {
        for rule in [
            include_str!("../../../../../systemd/agent/60-booster-agent.rules"),
            include_str!("../../../../../systemd/base/90-booster-daemons.rules"),
        ] {
            assert!(findings(rule).is_empty(), "{:?}", findings(rule));
        }
        let monitor = include_str!("../../../../../systemd/monitor/60-booster-monitor.rules");
        let without_units = findings(monitor);
        assert!(without_units.iter().all(|line| line.ends_with("has no file")), "{without_units:?}");
        assert_eq!(without_units.len(), 3);
    }

    #[test]
    fn exact_names_of_units_with_files_pass() {
        assert!(
            findings(r#"return ["restart booster-a.service"].indexOf(x) >= 0; // startsWith"#).is_empty()
        );
        assert!(findings(r"if (unit === 'booster-runner@guide.service') {}").is_empty());
    }

    #[test]
    fn patterns_and_units_without_files_are_named() {
        for (rule, wanted) in [
            (r"/^booster-[a-z]+\.service$/.test(unit)", "more than the instances"),
            (r"/^booster-runner@.*$/.test(unit)", "more than the instances"),
            (r"/booster-runner@[A-Za-z0-9:_.\\-]+\.service$/.test(unit)", "more than the instances"),
            (
                r"/^booster-other@[A-Za-z0-9:_.\\-]+\.service$/.test(unit)",
                "booster-other@.service has no file",
            ),
            (r#"unit.startsWith("booster-")"#, "startsWith"),
            (r#"unit.indexOf("booster-") === 0"#, "compared with 0"),
            (r#"new RegExp("booster").test(unit)"#, "RegExp"),
            (r#"unit === "booster-b.service""#, "booster-b.service has no file"),
            (r#"unit === "alias.service""#, "alias.service has no file"),
            (r#"unit === "booster-runner@x.timer""#, "booster-runner@x.timer has no file"),
        ] {
            let found = findings(rule);
            assert!(found.iter().any(|line| line.contains(wanted)), "{rule}: {found:?}");
        }
    }
}
