//! Every unit is valid and sandboxed: `systemd-analyze` without a running systemd.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Tally;
use crate::builder::Builder;

/// Highest exposure of a unit, in tenths, as `systemd-analyze security` scores it.
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
        // Its master reads the TLS key and opens the ports as root; its workers are www-data.
        "nginx.service" => 25,
        _ => 15,
    }
}

pub fn run(builder: &Builder) -> Result<Tally> {
    let folder = builder.checkout().join("systemd");
    let mut services = Vec::new();
    collect(&folder, &mut services)?;
    services.sort();
    ensure!(!services.is_empty(), "no services below {}", folder.display());
    let mut tally = Tally::default();
    for service in services {
        let name = service.file_name().context("a unit without a name")?.to_string_lossy().into_owned();
        let path = builder.inside(&service)?.display().to_string();
        let threshold = limit(&name);
        let outcome = builder
            .output(&[
                "systemd-analyze",
                "security",
                "--offline=true",
                "--no-pager",
                &format!("--threshold={threshold}"),
                &path,
            ])
            .map(drop);
        tally.check(&format!("{name} is exposed at most {}.{}", threshold / 10, threshold % 10), outcome);
    }
    Ok(tally)
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
