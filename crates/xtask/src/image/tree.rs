//! The directory tree of a slot, made by mkosi.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::builder::Builder;

/// Debian's component of microcode and firmware, which the builder itself has no use for.
const FIRMWARE: &str = "non-free-firmware";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Builds the tree from Debian's packages, `image/` and the stage; returns its path on the host.
///
/// Installed packages are kept from build to build; `fresh` installs them again, as new as they are.
pub fn build(builder: &Builder, stage: &Path, fresh: bool, version: &str) -> Result<PathBuf> {
    let work = builder.cache().join("mkosi");
    for folder in ["packages", "incremental", "workspace", "output"] {
        fs::create_dir_all(work.join(folder))?;
    }
    let sandbox = work.join("sandbox");
    write_package_sources(builder, &sandbox)?;
    let below = |name: &str| Ok::<_, anyhow::Error>(builder.inside(&work.join(name))?.display().to_string());
    builder.run(
        "building the root tree",
        "image-tree",
        &[
            "mkosi",
            "--directory=image",
            // Given twice, mkosi drops what it kept too.
            if fresh { "-ff" } else { "-f" },
            "--incremental=yes",
            &format!("--sandbox-tree={}", below("sandbox")?),
            &format!("--package-cache-dir={}", below("packages")?),
            &format!("--cache-directory={}", below("incremental")?),
            &format!("--workspace-directory={}", below("workspace")?),
            &format!("--output-directory={}", below("output")?),
            &format!("--extra-tree={}", builder.inside(stage)?.display()),
            // For mkosi.finalize.
            &format!("--environment=ACTIONBOOSTER_VERSION={version}"),
            "build",
        ],
    )?;
    Ok(path(builder))
}

/// Where the tree is on the host, once it is built.
pub fn path(builder: &Builder) -> PathBuf {
    builder.cache().join("mkosi/output/tree")
}

/// Writes the builder's own package sources, without backports, as mkosi wants them.
pub fn write_package_sources(builder: &Builder, sandbox: &Path) -> Result<()> {
    let list = builder.output(&["find", "/etc/apt", "-name", "*.list", "-exec", "cat", "{}", "+"])?;
    let sources = deb822(&list);
    ensure!(!sources.is_empty(), "the builder has no package sources below /etc/apt");
    let folder = sandbox.join("etc/apt/sources.list.d");
    fs::create_dir_all(&folder)?;
    let path = folder.join("mkosi.sources");
    fs::write(&path, sources).with_context(|| format!("cannot write {}", path.display()))
}

/// One-line sources as stanzas, with the component of firmware. Options in brackets are dropped,
/// backports left out.
fn deb822(list: &str) -> String {
    let stanzas = list.lines().filter_map(|line| {
        let mut words =
            line.split_ascii_whitespace().filter(|word| !word.starts_with('[') && !word.ends_with(']'));
        let (kind, uri, suite) = (words.next()?, words.next()?, words.next()?);
        let mut components: Vec<&str> = words.collect();
        if !components.contains(&FIRMWARE) {
            components.push(FIRMWARE);
        }
        (kind == "deb" && !suite.ends_with("-backports")).then(|| {
            format!(
                "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {}\nSigned-By: {KEYRING}\n",
                components.join(" ")
            )
        })
    });
    stanzas.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_become_stanzas_without_backports() {
        let list = "# comment
deb http://example.org/debian trixie main
deb [signed-by=/x.gpg] http://example.org/security trixie-security main contrib
deb http://example.org/debian trixie-backports main
deb-src http://example.org/debian trixie main
";
        let expected = format!(
            "Types: deb\nURIs: http://example.org/debian\nSuites: trixie\nComponents: main non-free-firmware\nSigned-By: {KEYRING}\n\n\
             Types: deb\nURIs: http://example.org/security\nSuites: trixie-security\nComponents: main contrib non-free-firmware\n\
             Signed-By: {KEYRING}\n"
        );
        assert_eq!(deb822(list), expected);
    }
}
