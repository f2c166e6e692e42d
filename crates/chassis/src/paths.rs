//! Where things are, below one root.

use std::path::{Path, PathBuf};

/// The variable that puts everything below another folder, for `dev` and for tests.
pub const ROOT_VARIABLE: &str = "ACTIONBOOSTER_ROOT";

/// The product's folders below one root (`/` on the appliance).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The folders below `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folders below `ACTIONBOOSTER_ROOT`, or below `/`.
    pub fn from_environment() -> Self {
        Self::below(
            std::env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty()).unwrap_or_else(|| "/".into()),
        )
    }

    /// Whether this is the appliance itself, where systemd runs our units: not a folder of `dev` or
    /// of a test, which must never restart or switch off the machine it is on.
    pub fn is_appliance(&self) -> bool {
        self.root == Path::new("/") && Path::new("/run/systemd/system").exists()
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the image ships: `/usr/share/actionbooster`.
    pub fn vendor(&self) -> PathBuf {
        self.root.join("usr/share/actionbooster")
    }

    /// The owner's overrides: `/etc/actionbooster`.
    pub fn owner(&self) -> PathBuf {
        self.root.join("etc/actionbooster")
    }

    /// Sockets and reports, gone at reboot: `/run/actionbooster`.
    pub fn runtime(&self) -> PathBuf {
        self.root.join("run/actionbooster")
    }

    /// What must survive: `/var/lib/actionbooster`.
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/actionbooster")
    }

    /// A daemon's own socket, such as `/run/actionbooster/agent.sock`.
    pub fn socket(&self, daemon: &str) -> PathBuf {
        self.runtime().join(format!("{daemon}.sock"))
    }

    /// The database of owner, keys and sessions.
    pub fn auth_database(&self) -> PathBuf {
        self.state().join("auth/auth.db")
    }

    /// A copy of that database in memory, for the time when the disk cannot be read.
    pub fn auth_copy(&self) -> PathBuf {
        self.runtime().join("auth/accounts.db")
    }

    /// Sessions that were opened while the database could not be written; gone at reboot.
    pub fn temporary_sessions(&self) -> PathBuf {
        self.runtime().join("auth/sessions.db")
    }
}
