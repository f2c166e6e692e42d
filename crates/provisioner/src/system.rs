//! Everything this program may do to the machine, as one trait: the real machine, a dry run and
//! the tests' failing machine stand behind it.

use std::io;
use std::path::Path;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// User that owns it, where that is not root.
    pub owner: Option<&'static str>,
}

impl Access {
    /// Readable by all.
    pub const PUBLIC: Self = Self { mode: 0o644, owner: None };
    /// Readable by root and its group, as UFW keeps its rules.
    pub const GROUP: Self = Self { mode: 0o640, owner: None };
    /// Readable by root.
    pub const SECRET: Self = Self { mode: 0o600, owner: None };
}

/// The machine.
pub trait System {
    /// Puts a file in place so that at any instant either the old or the new one is there, whole.
    /// Missing folders are made.
    fn replace(&self, path: &Path, contents: &[u8], access: Access) -> io::Result<()>;

    /// Puts a symbolic link in place, as safely as a file.
    fn link(&self, path: &Path, target: &Path) -> io::Result<()>;

    /// Takes a file away; it may be missing already.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Sets a value below `/proc/sys`.
    fn set_kernel(&self, key: &str, value: &str) -> io::Result<()>;

    /// Runs a program and waits for it; its failure is an error with its own words.
    fn run(&self, command: &[&str]) -> anyhow::Result<()>;

    /// Whether this root is the running system's: only then may its kernel and services be touched.
    fn is_running(&self) -> bool;

    /// A value below `/proc/sys`.
    fn kernel(&self, key: &str) -> Option<String>;

    /// Whether there is a TPM 2.0; it may still refuse to work.
    fn has_tpm(&self) -> bool;

    /// Seals a secret with the TPM, so that this machine alone opens it; makes sure that it does.
    fn seal(&self, name: &str, secret: &[u8]) -> anyhow::Result<Vec<u8>>;

    /// Opens what was sealed under this name.
    fn unseal(&self, name: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>>;

    /// Whether systemd says that a unit is active.
    fn is_active(&self, unit: &str) -> bool;
}
