//! What must follow a change of a file.
//!
//! A file in place says nothing of whether the running system has read it. So before a file
//! changes, a mark in `/run` says what must follow, and the mark goes when it has followed: a run
//! that is killed in between leaves the next one to finish. A power cut takes the marks away, and
//! rightly: at boot everything is read anew.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::layout::Layout;
use crate::system::{Access, System};

/// Something that must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Debt {
    /// systemd reads its units again.
    ReloadUnits,
    /// zRAM is made again with its new size.
    RestartZram,
    /// The kernel takes the firewall's exceptions.
    LoadRules,
    /// UFW starts again with other policies.
    RestartFirewall,
    /// systemd-timesyncd asks other servers.
    RestartTimesync,
    /// nginx reads its certificate.
    ReloadNginx,
}

const ALL: [Debt; 6] = [
    Debt::ReloadUnits,
    Debt::RestartZram,
    Debt::LoadRules,
    Debt::RestartFirewall,
    Debt::RestartTimesync,
    Debt::ReloadNginx,
];

impl Debt {
    const fn name(self) -> &'static str {
        match self {
            Self::ReloadUnits => "reload-units",
            Self::RestartZram => "restart-zram",
            Self::LoadRules => "load-rules",
            Self::RestartFirewall => "restart-firewall",
            Self::RestartTimesync => "restart-timesync",
            Self::ReloadNginx => "reload-nginx",
        }
    }

    fn mark(self, layout: &Layout) -> PathBuf {
        layout.run("provisioner").join(self.name())
    }
}

/// What is owed now.
#[derive(Debug)]
pub struct Debts {
    /// Only a running system can read files again.
    counted: bool,
    owed: RefCell<BTreeSet<Debt>>,
}

impl Debts {
    /// What an earlier run left owing.
    pub fn read(layout: &Layout, running: bool) -> Self {
        let owed = ALL.into_iter().filter(|debt| running && debt.mark(layout).exists()).collect();
        Self { counted: running, owed: RefCell::new(owed) }
    }

    /// Whether this must still follow.
    pub fn owes(&self, debt: Debt) -> bool {
        self.owed.borrow().contains(&debt)
    }

    pub(super) fn owe(&self, debt: Debt, system: &dyn System, layout: &Layout) -> Result<()> {
        if self.counted && self.owed.borrow_mut().insert(debt) {
            let mark = debt.mark(layout);
            system
                .replace(&mark, b"", Access::SECRET)
                .with_context(|| format!("cannot write {}", mark.display()))?;
        }
        Ok(())
    }

    pub(super) fn paid(&self, debt: Debt, system: &dyn System, layout: &Layout) -> Result<()> {
        if self.owed.borrow_mut().remove(&debt) {
            let mark = debt.mark(layout);
            system.remove(&mark).with_context(|| format!("cannot remove {}", mark.display()))?;
        }
        Ok(())
    }
}
