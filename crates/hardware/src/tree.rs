//! Reading the kernel's small files, without trust.
//!
//! A file may be absent, unreadable, endless, binary or a lie, and names from hardware end up on
//! terminals and in unit files. So everything has a limit, text is cleaned here, and whoever asks
//! gets `None` and a warning instead of an error.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// sysfs attributes are at most one page.
const LARGEST_ATTRIBUTE: u64 = 4096;
/// `/proc/cpuinfo` of a machine with a thousand processors, the kernel's log.
const LARGEST_FILE: u64 = 4 << 20;
const MOST_ENTRIES: usize = 4096;
const LONGEST_TEXT: usize = 128;
const MOST_WARNINGS: usize = 64;

/// The files below one root. Paths are relative to it.
pub struct Tree {
    root: PathBuf,
    warnings: RefCell<Vec<String>>,
}

impl Tree {
    /// The tree below `root`, which must be a folder.
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        fs::read_dir(&root)?;
        Ok(Self { root, warnings: RefCell::default() })
    }

    /// What could not be understood.
    pub fn into_warnings(self) -> Vec<String> {
        self.warnings.into_inner()
    }

    /// Notes that `path` could not be used.
    pub fn warn(&self, path: &str, reason: impl std::fmt::Display) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < MOST_WARNINGS {
            warnings.push(format!("/{}: {reason}", clean(path)));
        }
    }

    /// Whether there is something, links followed.
    pub fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The text of an attribute, cleaned and trimmed. `None` when absent, empty or unreadable.
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = self.warned(path, self.bytes(path, LARGEST_ATTRIBUTE))?;
        Some(clean(&String::from_utf8_lossy(&bytes))).filter(|text| !text.is_empty())
    }

    /// The text of an attribute that drivers may refuse, such as the speed of a link that is down.
    pub fn text_if_told(&self, path: &str) -> Option<String> {
        let bytes = self.bytes(path, LARGEST_ATTRIBUTE).ok()?;
        Some(clean(&String::from_utf8_lossy(&bytes))).filter(|text| !text.is_empty())
    }

    /// A decimal number.
    pub fn number(&self, path: &str) -> Option<u64> {
        let text = self.text(path)?;
        self.warned(path, text.parse().map_err(|error| format!("{text:?} is no number here: {error}")))
    }

    /// A hexadecimal number with or without `0x`.
    pub fn hexadecimal(&self, path: &str) -> Option<u32> {
        let text = self.text(path)?;
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        let number = u32::from_str_radix(digits, 16);
        self.warned(path, number.map_err(|error| format!("{text:?} is no number here: {error}")))
    }

    /// A longer text with its lines; bytes that are not UTF-8 are replaced. Empty when absent.
    pub fn lines(&self, path: &str) -> String {
        let bytes = self.warned(path, self.bytes(path, LARGEST_FILE)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// NUL-separated strings, as the device tree writes lists.
    pub fn strings(&self, path: &str) -> Vec<String> {
        let bytes = self.warned(path, self.bytes(path, LARGEST_ATTRIBUTE)).unwrap_or_default();
        bytes
            .split(|byte| *byte == 0)
            .map(|part| clean(&String::from_utf8_lossy(part)))
            .filter(|part| !part.is_empty())
            .collect()
    }

    /// The `KEY=value` lines of a `uevent` file.
    pub fn uevent(&self, folder: &str) -> BTreeMap<String, String> {
        let text = self.lines(&format!("{folder}/uevent"));
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (clean(key), clean(value))).collect()
    }

    /// Names in a folder in natural order; empty when absent.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(error) => {
                self.warned::<(), _>(folder, Err(error));
                return Vec::new();
            }
        };
        let mut names = Vec::new();
        for entry in entries.take(MOST_ENTRIES) {
            match entry.map(|entry| entry.file_name().into_string()) {
                Ok(Ok(name)) if is_device_name(&name) => names.push(name),
                Ok(Ok(name)) => self.warn(folder, format!("{:?} is no name of a device", clean(&name))),
                Ok(Err(_)) => self.warn(folder, "holds a name that is not text"),
                Err(error) => self.warn(folder, error),
            }
        }
        names.sort_by_cached_key(|name| natural(name));
        names
    }

    /// Where a path really leads, relative to the root; `None` when it leads nowhere or outside.
    pub fn real(&self, path: &str) -> Option<String> {
        let real = self.root.join(path).canonicalize().ok()?;
        real.strip_prefix(&self.root).ok()?.to_str().map(str::to_owned)
    }

    /// The last part of where a link points, as in `device/driver`.
    pub fn link_name(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.root.join(path)).ok()?;
        Some(clean(target.file_name()?.to_str()?)).filter(|name| !name.is_empty())
    }

    fn bytes(&self, path: &str, most: u64) -> io::Result<Vec<u8>> {
        // Without O_NONBLOCK a pipe would wait for ever, and the kernel's log for its next line.
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mut file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(self.root.join(path))?;
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !kind.is_char_device() {
            return Err(io::Error::new(ErrorKind::InvalidData, "not a plain file"));
        }
        let mut bytes = Vec::new();
        let mut buffer = [0; 8192];
        while (bytes.len() as u64) < most {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Lines of the kernel's log were overwritten while we read; the rest follows.
                Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(most as usize);
        Ok(bytes)
    }

    fn warned<T, E: Into<Reason>>(&self, path: &str, outcome: Result<T, E>) -> Option<T> {
        match outcome.map_err(Into::into) {
            Ok(value) => Some(value),
            Err(Reason::Absent) => None,
            Err(Reason::Because(reason)) => {
                self.warn(path, reason);
                None
            }
        }
    }
}

enum Reason {
    Absent,
    Because(String),
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        // A device that goes away while it is looked at is as absent as one that never was.
        let gone = [Errno::ENODEV, Errno::ENXIO].map(|errno| Some(errno as i32));
        if error.kind() == ErrorKind::NotFound || gone.contains(&error.raw_os_error()) {
            return Self::Absent;
        }
        Self::Because(error.to_string())
    }
}

impl From<String> for Reason {
    fn from(reason: String) -> Self {
        Self::Because(reason)
    }
}

/// Text without control characters, with single spaces, of bounded length.
pub fn clean(text: &str) -> String {
    let visible = |c: char| if c.is_control() || c == char::REPLACEMENT_CHARACTER { ' ' } else { c };
    let text: String = text.chars().take(LARGEST_ATTRIBUTE as usize).map(visible).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(LONGEST_TEXT).collect::<String>().trim_end().to_owned()
}

/// Names of devices become paths, so they hold nothing that means something in one.
fn is_device_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:,@+!#=".contains(&byte);
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.bytes().all(plain)
}

/// `sda`, `sda2`, `sda10`: digits compare as numbers.
fn natural(name: &str) -> Vec<(String, Option<u64>)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.split(|c: char| c.is_ascii_digit()).next().unwrap_or(rest);
        rest = &rest[text.len()..];
        let digits = &rest[..rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len()];
        rest = &rest[digits.len()..];
        parts.push((text.to_owned(), digits.parse().ok()));
    }
    parts
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::open(folder.path()).unwrap();
        (folder, tree)
    }

    #[test]
    fn what_is_absent_is_no_warning_and_what_is_odd_is_one() {
        let (folder, tree) = tree();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        fs::write(at("word"), "many\n").unwrap();
        fs::write(at("empty"), "\n").unwrap();
        for path in ["absent", "empty", "word/below"] {
            assert_eq!(tree.number(path), None);
        }
        let quiet = tree.warnings.borrow().clone();
        assert!(quiet.iter().all(|warning| warning.starts_with("/word/below")), "{quiet:?}");
        for path in ["folder", "pipe", "loop", "word"] {
            let before = tree.warnings.borrow().len();
            assert_eq!(tree.number(path), None, "{path}");
            assert_eq!(tree.warnings.borrow().len(), before + 1, "{path}");
        }
    }

    #[test]
    fn text_cannot_speak_to_a_terminal_and_has_an_end() {
        let (folder, tree) = tree();
        fs::write(folder.path().join("name"), b" Evil\x1b[2J\n\tdisk\xff \0 ".as_slice()).unwrap();
        fs::write(folder.path().join("long"), "x".repeat(1 << 20)).unwrap();
        assert_eq!(tree.text("name").unwrap(), "Evil [2J disk");
        assert_eq!(tree.text("long").unwrap().len(), LONGEST_TEXT);
    }

    #[test]
    fn names_come_in_natural_order_without_dangerous_ones() {
        let (folder, tree) = tree();
        for name in ["sda10", "sda2", "sda", "with space", "new\nline", "0000:03:00.0"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(tree.list(""), ["0000:03:00.0", "sda", "sda2", "sda10"]);
        assert_eq!(tree.warnings.borrow().len(), 2);
    }

    #[test]
    fn a_link_out_of_the_tree_leads_nowhere() {
        let (folder, tree) = tree();
        std::os::unix::fs::symlink("/", folder.path().join("out")).unwrap();
        std::os::unix::fs::symlink(".", folder.path().join("in")).unwrap();
        assert_eq!(tree.real("out"), None);
        assert_eq!(tree.real("in").as_deref(), Some(""));
    }
}
