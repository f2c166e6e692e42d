//! Actions that a change of a file makes necessary.
//!
//! A file in place says nothing of whether the running system has read it. So before a file
//! changes, a marker in `/run` says which actions are pending, and it goes when they are done: a run
//! that is killed in between leaves the next one to finish. A power cut takes the markers away, and
//! rightly: at boot everything is read anew.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::layout::Layout;
use crate::system::{Access, System};

/// What can be pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
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

const ALL: [Action; 6] = [
    Action::ReloadUnits,
    Action::RestartZram,
    Action::LoadRules,
    Action::RestartFirewall,
    Action::RestartTimesync,
    Action::ReloadNginx,
];

impl Action {
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

    fn marker(self, layout: &Layout) -> PathBuf {
        layout.run("provisioner").join(self.name())
    }
}

/// What is pending now.
#[derive(Debug)]
pub struct PendingActions {
    /// Only a running system can read files again.
    is_running: bool,
    pending: RefCell<BTreeSet<Action>>,
}

impl PendingActions {
    /// What an earlier run left pending.
    pub fn read(layout: &Layout, is_running: bool) -> Self {
        let pending = ALL.into_iter().filter(|action| is_running && action.marker(layout).exists()).collect();
        Self { is_running, pending: RefCell::new(pending) }
    }

    /// Whether this is still to be done.
    pub fn contains(&self, action: Action) -> bool {
        self.pending.borrow().contains(&action)
    }

    pub(super) fn add(&self, action: Action, system: &dyn System, layout: &Layout) -> Result<()> {
        if self.is_running && self.pending.borrow_mut().insert(action) {
            let marker = action.marker(layout);
            system
                .replace(&marker, b"", Access::SECRET)
                .with_context(|| format!("cannot write {}", marker.display()))?;
        }
        Ok(())
    }

    pub(super) fn complete(&self, action: Action, system: &dyn System, layout: &Layout) -> Result<()> {
        if self.pending.borrow_mut().remove(&action) {
            let marker = action.marker(layout);
            system.remove(&marker).with_context(|| format!("cannot remove {}", marker.display()))?;
        }
        Ok(())
    }
}
