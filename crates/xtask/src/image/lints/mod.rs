//! Rules that a finished tree must keep, as a registry: a rule is a file beside this one and a line
//! in [`LINTS`].
//!
//! `cargo xtask image` runs them over what it made; the suite `units` shows each as a check. A lint
//! decides from plain data, so its tests need no image.

mod accounts;
mod exposure;
mod image_version;
mod licences;
mod numbers;
mod open_actions;
mod polkit;
mod setuid;
mod tree;
mod writable;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::builder::Builder;
use tree::Tree;

/// What lints look at.
struct Subject {
    tree: Tree,
    /// The bill of materials.
    bill: Value,
    /// Exposure of units in tenths, as `systemd-analyze security` scores it.
    exposures: BTreeMap<String, u32>,
}

/// What a finding means for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The image must not be handed out.
    Fatal,
    /// Somebody should look.
    Warning,
}

/// A rule.
pub struct Lint {
    /// Short and unique.
    pub name: &'static str,
    /// What must hold, as the line of a check.
    pub promise: &'static str,
    /// What breaking it means.
    pub severity: Severity,
    /// Finds what breaks it, a line each.
    check: fn(&Subject) -> Result<Vec<String>>,
}

/// All rules.
pub const LINTS: &[Lint] = &[
    accounts::LINT,
    numbers::LINT,
    setuid::LINT,
    writable::LINT,
    polkit::LINT,
    open_actions::LINT,
    exposure::LINT,
    image_version::LINT,
    licences::LINT,
];

/// The outcome of one rule.
pub struct Outcome {
    /// The rule.
    pub lint: &'static Lint,
    /// What breaks it.
    pub findings: Vec<String>,
}

/// Applies every rule to the tree in `folder`, whose bill of materials this is.
pub fn apply(builder: &Builder, folder: &Path, bill: &Value) -> Result<Vec<Outcome>> {
    let subject = Subject {
        tree: Tree::read(builder, folder)?,
        bill: bill.clone(),
        exposures: exposure::scores(builder)?,
    };
    LINTS.iter().map(|lint| Ok(Outcome { lint, findings: (lint.check)(&subject)? })).collect()
}

/// Prints what was found, and fails if the image must not be handed out.
pub fn enforce(outcomes: &[Outcome]) -> Result<()> {
    let mut broken = Vec::new();
    for Outcome { lint, findings } in outcomes.iter().filter(|outcome| !outcome.findings.is_empty()) {
        let word = match lint.severity {
            Severity::Fatal => "error",
            Severity::Warning => "warning",
        };
        eprintln!("  {word}: {}: {}", lint.name, lint.promise);
        for finding in findings {
            eprintln!("    {finding}");
        }
        if lint.severity == Severity::Fatal {
            broken.push(lint.name);
        }
    }
    if !broken.is_empty() {
        bail!("the image breaks the rules {} (crates/xtask/src/image/lints)", broken.join(", "));
    }
    Ok(())
}

#[cfg(test)]
impl Subject {
    /// A subject of nothing but a tree.
    fn of(tree: Tree) -> Self {
        Self { tree, bill: Value::Null, exposures: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = LINTS.iter().map(|lint| lint.name).collect();
        assert_eq!(names.len(), LINTS.len());
    }

    #[test]
    fn only_a_fatal_finding_stops_an_image() {
        let outcome = |severity, findings: &[&str]| {
            let lint = LINTS.iter().find(|lint| lint.severity == severity).unwrap();
            Outcome { lint, findings: findings.iter().map(ToString::to_string).collect() }
        };
        assert!(enforce(&[outcome(Severity::Fatal, &[]), outcome(Severity::Warning, &["x"])]).is_ok());
        assert!(enforce(&[outcome(Severity::Fatal, &["x"])]).is_err());
    }
}
