//! Kernel modules: which ones a device asks for, and in which order they load.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::kmod::{ModuleInitFlags, finit_module};

use crate::Error;

/// What `modules.dep` says: for every module its file and the files that must be loaded before it.
#[derive(Debug, Default)]
pub struct Dependencies(BTreeMap<String, Vec<String>>);

impl Dependencies {
    /// Reads `modules.dep`. Each line is `file: dependency…`, dependencies from last to first.
    pub fn parse(text: &str) -> Self {
        let entries = text.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let order = needs.split_ascii_whitespace().rev().chain([file]).map(str::to_owned).collect();
            Some((name_of(file), order))
        });
        Self(entries.collect())
    }

    /// The files to load for `name`, in order, itself last; `None` when there is no such module.
    pub fn load_order(&self, name: &str) -> Option<&[String]> {
        self.0.get(&name.replace('-', "_")).map(Vec::as_slice)
    }

    /// The files of all `names` and what they need; names that do not exist are left out.
    pub fn closure<'a>(&'a self, names: &[&str]) -> BTreeSet<&'a str> {
        names.iter().filter_map(|name| self.load_order(name)).flatten().map(String::as_str).collect()
    }

    /// Names of all modules.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The name of the module in a file such as `kernel/fs/squashfs/squashfs.ko.xz`.
pub fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

/// What `modules.alias` says: device patterns and the module for each.
#[derive(Debug, Default)]
pub struct Aliases(Vec<(String, String)>);

impl Aliases {
    /// Reads `modules.alias`. Each line is `alias PATTERN MODULE`.
    pub fn parse(text: &str) -> Self {
        let entries = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("alias"), Some(pattern), Some(module)) => Some((pattern.to_owned(), module.to_owned())),
                _ => None,
            }
        });
        Self(entries.collect())
    }

    /// The modules for a device's `modalias`.
    pub fn matching<'a>(&'a self, modalias: &'a str) -> impl Iterator<Item = &'a str> {
        let wanted =
            self.0.iter().filter(move |(pattern, _)| matches(pattern.as_bytes(), modalias.as_bytes()));
        wanted.map(|(_, module)| module.as_str())
    }
}

/// Shell pattern match with `*`, `?` and `[…]`, as `fnmatch(3)` without flags.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        [b'?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let Some((first, others)) = text.split_first() else { return false };
            in_set(&rest[..end], *first) && matches(&rest[end + 1..], others)
        }
        [byte, rest @ ..] => text.first() == Some(byte) && matches(rest, &text[1..]),
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    match set {
        [low, b'-', high, rest @ ..] => (*low..=*high).contains(&byte) || in_set(rest, byte),
        [one, rest @ ..] => *one == byte || in_set(rest, byte),
        [] => false,
    }
}

/// Loads modules from a folder and remembers which are in.
pub struct Loader {
    folder: PathBuf,
    dependencies: Dependencies,
    aliases: Aliases,
    loaded: BTreeSet<String>,
}

impl Loader {
    /// Reads the two indexes of `folder`.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(Error::file("read", path))
        };
        Ok(Self {
            folder: folder.to_owned(),
            dependencies: Dependencies::parse(&read("modules.dep")?),
            aliases: Aliases::parse(&read("modules.alias")?),
            loaded: BTreeSet::new(),
        })
    }

    /// Loads `name` and what it needs. A module that is not here or does not load is skipped with a
    /// line in the kernel log: what it was needed for will say so itself.
    pub fn load(&mut self, name: &str) {
        let Some(order) = self.dependencies.load_order(name) else { return };
        for file in order {
            if !self.loaded.insert(file.clone()) {
                continue;
            }
            if let Err(error) = insert(&self.folder.join(file)) {
                crate::console::note(&format!("{error}"));
            }
        }
    }

    /// Loads what the devices present at the moment ask for.
    pub fn load_for_devices(&mut self, sys: &Path) {
        let mut wanted = BTreeSet::new();
        for modalias in modaliases(&sys.join("bus")) {
            wanted.extend(self.aliases.matching(modalias.trim()).map(str::to_owned));
        }
        for module in wanted {
            self.load(&module);
        }
    }
}

fn insert(path: &Path) -> Result<(), Error> {
    let file = File::open(path).map_err(Error::file("open", path))?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(nix::Error::EEXIST) => Ok(()),
        Err(source) => Err(Error::file("load", path)(source.into())),
    }
}

/// The `modalias` of every device on every bus. Devices that vanish meanwhile are left out.
fn modaliases(buses: &Path) -> BTreeSet<String> {
    let entries =
        |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries(buses.to_owned())
        .flat_map(|bus| entries(bus.join("devices")))
        .filter_map(|device| fs::read_to_string(device.join("modalias")).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/fs/squashfs/squashfs.ko.xz:
kernel/drivers/usb/storage/usb-storage.ko: kernel/drivers/scsi/scsi_mod.ko
";

    #[test]
    fn dependencies_load_before_what_needs_them() {
        let dependencies = Dependencies::parse(DEP);
        assert_eq!(
            dependencies.load_order("virtio_blk").unwrap(),
            [
                "kernel/drivers/virtio/virtio.ko",
                "kernel/drivers/virtio/virtio_ring.ko",
                "kernel/drivers/block/virtio_blk.ko"
            ]
        );
        assert_eq!(dependencies.load_order("nvme"), None);
    }

    #[test]
    fn dashes_and_underscores_are_the_same_name() {
        let dependencies = Dependencies::parse(DEP);
        for name in ["usb-storage", "usb_storage"] {
            assert_eq!(dependencies.load_order(name).unwrap().len(), 2, "{name}");
        }
        assert_eq!(dependencies.closure(&["usb-storage", "squashfs", "absent"]).len(), 3);
    }

    #[test]
    fn devices_find_their_module() {
        let aliases = Aliases::parse(
            "# Aliases extracted from modules themselves.
alias pci:v*d*sv*sd*bc01sc08i02* nvme
alias virtio:d00000002v* virtio_blk
alias acpi*:PNP0D4[0-9A]:* sdhci_acpi
alias short
",
        );
        for (modalias, expected) in [
            ("pci:v00008086d00005845sv00001AF4sd00001100bc01sc08i02", vec!["nvme"]),
            ("virtio:d00000002v00001AF4", vec!["virtio_blk"]),
            ("virtio:d00000001v00001AF4", vec![]),
            ("acpi:PNP0D40:", vec!["sdhci_acpi"]),
            ("acpi:PNP0D4A:", vec!["sdhci_acpi"]),
            ("acpi:PNP0D4F:", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(aliases.matching(modalias).collect::<Vec<_>>(), expected, "{modalias}");
        }
    }

    #[test]
    fn patterns_match_like_fnmatch() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[", "[", false),
            ("x[a-c]", "xb", true),
            ("x[a-c]", "x", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
