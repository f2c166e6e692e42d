//! The finished tree of the image keeps its rules: every lint is a check, the sandboxes of our
//! units among them.

use anyhow::{Result, anyhow, ensure};

use super::Tally;
use crate::builder::Builder;
use crate::image;
use crate::image::lints::{Outcome, Severity};

pub fn run(builder: &Builder) -> Result<Tally> {
    let outcomes = image::lint(builder)?;
    ensure!(!outcomes.is_empty(), "there are no rules");
    let mut tally = Tally::default();
    for Outcome { lint, findings } in outcomes {
        let outcome = match (findings.is_empty(), lint.severity) {
            (true, _) => Ok(()),
            (false, Severity::Fatal) => Err(anyhow!("{}", findings.join("; "))),
            (false, Severity::Warning) => {
                eprintln!("  warning: {}: {}", lint.name, findings.join("; "));
                Ok(())
            }
        };
        tally.check(lint.promise, outcome);
    }
    Ok(tally)
}
