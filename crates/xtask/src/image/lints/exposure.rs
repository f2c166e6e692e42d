//! Our services are sandboxed: what `systemd-analyze security` says of their units.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{Lint, Severity, Subject};
use crate::builder::Builder;

/// In the name of a template's unit that `systemd-analyze` makes up.
const INSTANCE: &str = "@test_instance.";
const SUMMARY: &str = "Overall exposure level for ";

pub const LINT: Lint = Lint {
    name: "exposure",
    promise: "every service is sandboxed as far as its work allows",
    severity: Severity::Fatal,
    check,
};

/// Highest exposure of a unit, in tenths.
fn limit(unit: &str) -> u32 {
    match unit {
        // It configures the firewall, zRAM, keys and other units, so it must be root.
        // The console is the owner's, root by physical access.
        "booster-provisioner.service"
        | "booster-announce.service"
        | "booster-clock.service"
        | "booster-console@.service" => 55,
        // It holds a model and, where there is one, a GPU.
        "booster-runner@.service" => 20,
        // Root without capabilities, and without a mount namespace, which cannot be made on a disk that cannot
        // be read.
        "booster-power@.service" => 29,
        // Root without capabilities: it writes to the boot partition, asks the daemons as their owner,
        // and reads the first bytes of the other slot.
        "booster-mark-good.service" => 16,
        // Its master reads the TLS key and opens the ports as root; its workers are www-data.
        "nginx.service" => 25,
        _ => 15,
    }
}

fn check(subject: &Subject) -> Result<Vec<String>> {
    ensure!(!subject.exposures.is_empty(), "no service was scored");
    let tenths = |score: u32| format!("{}.{}", score / 10, score % 10);
    let above = subject.exposures.iter().filter(|(unit, score)| **score > limit(unit));
    Ok(above
        .map(|(unit, score)| {
            format!("{unit} is exposed {}; at most {} is allowed", tenths(*score), tenths(limit(unit)))
        })
        .collect())
}

/// Scores every service of the checkout, in tenths, without a running systemd.
pub fn scores(builder: &Builder) -> Result<BTreeMap<String, u32>> {
    let folder = builder.checkout().join("systemd");
    let mut services = Vec::new();
    collect(&folder, &mut services)?;
    let mut argv =
        ["systemd-analyze", "security", "--offline=true", "--no-pager"].map(str::to_owned).to_vec();
    for service in &services {
        argv.push(builder.inside(service)?.display().to_string());
    }
    let scores = parse(&builder.output(&argv)?)?;
    ensure!(scores.len() == services.len(), "{} of {} services were scored", scores.len(), services.len());
    Ok(scores)
}

fn parse(text: &str) -> Result<BTreeMap<String, u32>> {
    let lines = text.lines().filter_map(|line| line.split_once(SUMMARY)).map(|(_, rest)| {
        let score = rest.split_once(": ").and_then(|(unit, rest)| {
            let (whole, tenth) = rest.split_whitespace().next()?.split_once('.')?;
            // Scored is an instance of a template.
            Some((unit.replace(INSTANCE, "@."), whole.parse::<u32>().ok()? * 10 + tenth.parse::<u32>().ok()?))
        });
        score.with_context(|| format!("not a score: {rest}"))
    });
    lines.collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && path.extension().is_none_or(|ending| ending != "d") {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "service") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;

    #[test]
    fn the_summary_of_each_unit_is_read() {
        let text = "  NAME  DESCRIPTION  EXPOSURE\n\
                    \u{2192} Overall exposure level for booster-agent.service: 1.2 OK \u{1f642}\n\
                    \u{2192} Overall exposure level for booster-runner@test_instance.service: 1.7 OK \u{1f642}\n\
                    \u{2192} Overall exposure level for nginx.service: 10.0 UNSAFE \u{1f628}\n";
        let scores = parse(text).unwrap();
        assert_eq!(scores["booster-runner@.service"], 17);
        assert_eq!((scores["booster-agent.service"], scores["nginx.service"]), (12, 100));
        assert!(parse("Overall exposure level for x.service: much").is_err());
    }

    #[test]
    fn a_unit_above_its_limit_is_named() {
        let subject = |unit: &str, score| {
            let mut subject = Subject::of(Tree::default());
            subject.exposures.insert(unit.to_owned(), score);
            subject
        };
        assert!(check(&subject("booster-agent.service", 15)).unwrap().is_empty());
        assert!(check(&subject("booster-runner@.service", 20)).unwrap().is_empty());
        assert_eq!(check(&subject("booster-agent.service", 16)).unwrap().len(), 1);
        assert!(check(&Subject::of(Tree::default())).is_err());
    }
}
