//! A finished tree as lints see it: what every file is and whose, and what text files say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::builder::Builder;

/// Type, mode, numbers of user and group, path, and where a link leads.
const FORMAT: &str = "%y %m %U %G %P\\0%l\\0";

/// What lints read, not only look at: files, and folders with an ending.
const TEXTS: &[(&str, &str)] = &[
    ("etc", "passwd"),
    ("etc", "group"),
    ("etc", "shadow"),
    ("usr/lib", "os-release"),
    ("usr/lib/sysusers.d", ".conf"),
    ("usr/share/polkit-1/rules.d", ".rules"),
    ("etc/polkit-1/rules.d", ".rules"),
    ("usr/share/polkit-1/actions", ".policy"),
];

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    /// A symbolic link, with what it holds.
    Link(String),
    /// A device, socket or pipe.
    Special,
}

/// One file.
#[derive(Debug, Clone)]
pub struct Entry {
    pub kind: Kind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    pub user: u32,
    pub group: u32,
}

/// All files of a slot, by their path without the first slash.
#[derive(Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
    texts: BTreeMap<String, String>,
}

impl Tree {
    /// The tree in `folder` on the host, but for `/var`, which is not part of a slot.
    pub fn read(builder: &Builder, folder: &Path) -> Result<Self> {
        let inside = builder.inside(folder)?.display().to_string();
        let var = format!("{inside}/var");
        let listing = builder.output(&[
            "find",
            &inside,
            "-mindepth",
            "1",
            "-path",
            &var,
            "-prune",
            "-o",
            "-printf",
            FORMAT,
        ])?;
        let mut tree = Self { entries: parse(&listing)?, texts: BTreeMap::new() };
        let wanted: Vec<String> =
            TEXTS.iter().flat_map(|(at, ending)| tree.files(at, ending)).map(str::to_owned).collect();
        for path in wanted {
            let text = match fs::read_to_string(folder.join(&path)) {
                Ok(text) => text,
                // Some are root's alone, and this program need not be root.
                Err(_) => builder.output(&["cat", &format!("{inside}/{path}")])?,
            };
            tree.texts.insert(path, text);
        }
        Ok(tree)
    }

    /// Every file with its path.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The file at a path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Paths of the plain files directly in a folder whose names end so.
    pub fn files(&self, folder: &str, ending: &str) -> Vec<&str> {
        let plain = self.entries().filter(|(_, entry)| entry.kind == Kind::File);
        plain
            .map(|(path, _)| path)
            .filter(|path| {
                path.rsplit_once('/').is_some_and(|(at, name)| at == folder && name.ends_with(ending))
            })
            .collect()
    }

    /// What a text file says.
    pub fn text(&self, path: &str) -> Result<&str> {
        self.texts.get(path).map(String::as_str).with_context(|| format!("the tree has no /{path}"))
    }
}

fn parse(listing: &str) -> Result<BTreeMap<String, Entry>> {
    let mut fields = listing.split('\0');
    let mut entries = BTreeMap::new();
    while let (Some(head), Some(target)) = (fields.next(), fields.next()) {
        let mut words = head.splitn(5, ' ');
        let mut word = || words.next().with_context(|| format!("not a line of find: {head:?}"));
        let kind = match word()? {
            "f" => Kind::File,
            "d" => Kind::Folder,
            "l" => Kind::Link(target.to_owned()),
            _ => Kind::Special,
        };
        let mode = u32::from_str_radix(word()?, 8)?;
        let (user, group) = (word()?.parse()?, word()?.parse()?);
        entries.insert(word()?.to_owned(), Entry { kind, mode, user, group });
    }
    Ok(entries)
}

/// Small trees for the tests of lints.
#[cfg(test)]
impl Tree {
    /// Adds root's file with this mode.
    pub fn file(self, path: &str, mode: u32, text: &str) -> Self {
        self.owned(path, mode, (0, 0), text)
    }

    /// Adds a file of somebody else.
    pub fn owned(mut self, path: &str, mode: u32, (user, group): (u32, u32), text: &str) -> Self {
        self.entries.insert(path.into(), Entry { kind: Kind::File, mode, user, group });
        self.texts.insert(path.into(), text.into());
        self
    }

    /// Adds root's folder with this mode.
    pub fn folder(mut self, path: &str, mode: u32) -> Self {
        self.entries.insert(path.into(), Entry { kind: Kind::Folder, mode, user: 0, group: 0 });
        self
    }

    /// Adds a link.
    pub fn link(mut self, path: &str, target: &str) -> Self {
        let kind = Kind::Link(target.into());
        self.entries.insert(path.into(), Entry { kind, mode: 0o777, user: 0, group: 0 });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_find_becomes_entries() {
        let listing = "d 755 0 0 usr/my folder\0\0f 4755 0 810 usr/bin/sudo\0\0l 777 0 0 bin\0usr/bin\0";
        let tree = Tree { entries: parse(listing).unwrap(), texts: BTreeMap::new() };
        assert_eq!(tree.get("usr/my folder").unwrap().kind, Kind::Folder);
        assert_eq!(tree.get("bin").unwrap().kind, Kind::Link("usr/bin".into()));
        let sudo = tree.get("usr/bin/sudo").unwrap();
        assert_eq!((sudo.mode, sudo.user, sudo.group), (0o4755, 0, 810));
        assert_eq!(tree.files("usr/bin", "do"), ["usr/bin/sudo"]);
        assert!(tree.files("usr", "sudo").is_empty());
        assert!(parse("f 755").is_err() || parse("f 755\0\0").is_err());
    }
}
