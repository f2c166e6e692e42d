//! Where each file of `systemd/` belongs on the appliance.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const UNITS: &str = "usr/lib/systemd/system";
const UNIT_ENDINGS: &[&str] = &["service", "socket", "target", "path", "timer", "mount", "automount"];

/// Copies all files of `systemd/` to their places below `stage`.
pub fn install(systemd: &Path, stage: &Path) -> Result<()> {
    for program in entries(systemd)? {
        let owner = program.file_name().context("a folder without a name")?.to_string_lossy().into_owned();
        for source in entries(&program)? {
            let name = source.file_name().context("a file without a name")?.to_string_lossy().into_owned();
            if source.is_dir() {
                for dropin in entries(&source)? {
                    let file = dropin.file_name().context("a drop-in without a name")?;
                    copy(&dropin, &stage.join(UNITS).join(&name).join(file))?;
                }
            } else {
                let place = place(&owner, &name)
                    .with_context(|| format!("no place is known for {}", source.display()))?;
                copy(&source, &stage.join(place))?;
            }
        }
    }
    Ok(())
}

/// Copies udev's rules to their place below `stage`.
pub fn install_udev(rules: &Path, stage: &Path) -> Result<()> {
    for source in entries(rules)? {
        let name = source.file_name().context("a file without a name")?;
        copy(&source, &stage.join("usr/lib/udev/rules.d").join(name))?;
    }
    Ok(())
}

/// The place of a file of `systemd/<owner>/` below the root; `None` when its kind is unknown.
fn place(owner: &str, name: &str) -> Option<PathBuf> {
    let folder = match (name, name.rsplit_once('.')?.1) {
        ("sysusers.conf", _) => return Some(format!("usr/lib/sysusers.d/actionbooster-{owner}.conf").into()),
        ("tmpfiles.conf", _) => return Some(format!("usr/lib/tmpfiles.d/actionbooster-{owner}.conf").into()),
        // Sorts before Debian's, which turn everything on.
        (_, "preset") => return Some(format!("usr/lib/systemd/system-preset/00-{name}").into()),
        (_, "rules") => "usr/share/polkit-1/rules.d",
        (_, "conf") if name.starts_with("de.") || name.starts_with("org.") => "usr/share/dbus-1/system.d",
        (_, ending) if UNIT_ENDINGS.contains(&ending) => UNITS,
        _ => return None,
    };
    Some(Path::new(folder).join(name))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    listing.map(|entry| Ok(entry?.path())).collect()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_file_has_its_place() {
        for (name, expected) in [
            ("booster-agent.service", Some("usr/lib/systemd/system/booster-agent.service")),
            ("boot-efi.automount", Some("usr/lib/systemd/system/boot-efi.automount")),
            ("sysusers.conf", Some("usr/lib/sysusers.d/actionbooster-base.conf")),
            ("tmpfiles.conf", Some("usr/lib/tmpfiles.d/actionbooster-base.conf")),
            ("60-agent.rules", Some("usr/share/polkit-1/rules.d/60-agent.rules")),
            ("de.pengutronix.rauc.conf", Some("usr/share/dbus-1/system.d/de.pengutronix.rauc.conf")),
            ("actionbooster.preset", Some("usr/lib/systemd/system-preset/00-actionbooster.preset")),
            ("notes.txt", None),
            ("README", None),
        ] {
            assert_eq!(place("base", name), expected.map(PathBuf::from), "{name}");
        }
    }
}
