//! What was compiled of which checkout.
//!
//! Inside the builder every checkout lies at the same place, and cargo tells what has changed by the times of files.
//! So what another checkout left would pass for this one's wherever its files are the older ones.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Beginnings of the names of our crates.
const OURS: [&str; 3] = ["actionbooster-", "booster", "xtask-"];
/// Says which checkout the folder belongs to.
const OWNER: &str = "checkout";
/// Where cargo keeps what it knows of each crate, in the folder of a profile.
const FINGERPRINTS: &str = ".fingerprint";

/// Makes cargo's folder `target` that of `checkout`: our own crates are compiled anew when it was another's. What
/// they depend on stays.
pub(super) fn belongs_to(checkout: &Path, target: &Path) -> Result<()> {
    let owner = target.join(OWNER);
    let name = checkout.as_os_str().as_encoded_bytes();
    if fs::read(&owner).is_ok_and(|found| found == name) {
        return Ok(());
    }
    for profile in folders(target)? {
        // A platform's folder holds those of its profiles.
        let inner = if profile.join(FINGERPRINTS).exists() { vec![profile] } else { folders(&profile)? };
        for crates in inner.iter().map(|profile| folders(&profile.join(FINGERPRINTS))) {
            for known in crates?.iter().filter(|path| is_ours(path)) {
                fs::remove_dir_all(known).with_context(|| format!("cannot remove {}", known.display()))?;
            }
        }
    }
    fs::create_dir_all(target)?;
    fs::write(&owner, name).with_context(|| format!("cannot write {}", owner.display()))
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    OURS.iter().any(|beginning| name.starts_with(beginning))
}

/// The folders in a folder, which need not be there.
fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_checkout_finds_nothing_of_ours_and_all_of_others() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path();
        let known = ["release/.fingerprint", "x86_64-unknown-linux-gnu/release/.fingerprint"];
        let make = || {
            for (folder, name) in
                known.iter().flat_map(|folder| ["booster-agent-12", "serde-34"].map(|name| (folder, name)))
            {
                fs::create_dir_all(target.join(folder).join(name)).unwrap();
            }
        };
        let left = |name: &str| known.iter().filter(|folder| target.join(folder).join(name).exists()).count();
        let one = Path::new("/one");
        make();
        belongs_to(one, target).unwrap();
        assert_eq!((left("booster-agent-12"), left("serde-34")), (0, 2), "of nobody knows whom");
        make();
        belongs_to(one, target).unwrap();
        assert_eq!((left("booster-agent-12"), left("serde-34")), (2, 2), "its own");
        belongs_to(Path::new("/two"), target).unwrap();
        assert_eq!((left("booster-agent-12"), left("serde-34")), (0, 2), "another's");
        belongs_to(one, &target.join("absent")).unwrap();
    }
}
