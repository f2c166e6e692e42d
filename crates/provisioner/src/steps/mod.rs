//! How it becomes so: one file per step, each leaving alone what is already right.
//!
//! A step may be cut at any instant. Files are replaced whole, one at a time, and no two of them
//! must change together. What must follow a change of a file (loading rules, telling systemd) is a
//! pending action: see `pending_actions`.

mod authorities;
mod claim;
mod firewall;
mod hostname;
mod limits;
mod machine_id;
mod memory;
mod migrate;
mod pending_actions;
mod secrets;
mod services;
mod settings;
mod ssh;
mod time;
mod tls;
mod ufw;

use std::cell::{Ref, RefCell};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use actionbooster_secrets::Keyring;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use migrate::migrate;
pub use pending_actions::{Action, PendingActions};
pub use secrets::Secrets;
pub use tls::Certificate;

use crate::decide::Plan;
use crate::facts::OwnersSettings;
use crate::layout::Layout;
use crate::machine::read_small;
use crate::system::{Access, System};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything was right already.
    Unchanged,
    /// Something was changed.
    Applied,
    /// It could not be done; the detail says why.
    Failed,
    /// It has no meaning here.
    Skipped,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// What was changed, or why it failed.
    pub detail: String,
}

/// What a step works with.
pub struct Context<'a> {
    /// Where everything is.
    pub layout: &'a Layout,
    /// The machine.
    pub system: &'a dyn System,
    /// The moment of this run; never before the program was built.
    pub now: Timestamp,
    /// The box's addresses at this moment.
    pub addresses: &'a [IpAddr],
    /// What must still follow earlier changes.
    pub pending: PendingActions,
    /// With which this program seals what it keeps.
    keyring: RefCell<Keyring>,
    changes: RefCell<Vec<String>>,
}

impl<'a> Context<'a> {
    /// A context for a run, with what an earlier run left pending.
    pub fn new(layout: &'a Layout, system: &'a dyn System, now: Timestamp, addresses: &'a [IpAddr]) -> Self {
        let pending = PendingActions::read(layout, system.is_running());
        let keyring = RefCell::new(secrets::keyring(layout));
        Self { layout, system, now, addresses, pending, keyring, changes: RefCell::default() }
    }

    fn keyring(&self) -> Ref<'_, Keyring> {
        self.keyring.borrow()
    }

    fn set_keyring(&self, keyring: Keyring) {
        *self.keyring.borrow_mut() = keyring;
    }

    fn note(&self, change: String) {
        self.changes.borrow_mut().push(change);
    }

    /// Makes a file hold this, if it does not; says whether it had to.
    fn ensure(&self, path: &Path, contents: &[u8], access: Access) -> Result<bool> {
        if !differs(path, contents) {
            return Ok(false);
        }
        self.replace(path, contents, access)?;
        Ok(true)
    }

    /// Makes files hold what they should, after noting what must follow if any does not.
    fn ensure_all(&self, files: &[(PathBuf, String)], access: Access, then: &[Action]) -> Result<()> {
        if files.iter().any(|(path, contents)| differs(path, contents.as_bytes())) {
            self.add_pending(then)?;
        }
        for (path, contents) in files {
            self.ensure(path, contents.as_bytes(), access)?;
        }
        Ok(())
    }

    fn replace(&self, path: &Path, contents: &[u8], access: Access) -> Result<()> {
        let shown = self.layout.inside(path);
        self.system
            .replace(path, contents, access)
            .with_context(|| format!("cannot write {}", shown.display()))?;
        self.note(format!("wrote {}", shown.display()));
        Ok(())
    }

    /// Takes a file away, if it is there; says whether it was.
    fn ensure_absent(&self, path: &Path) -> Result<bool> {
        if path.symlink_metadata().is_err() {
            return Ok(false);
        }
        let shown = self.layout.inside(path);
        self.system.remove(path).with_context(|| format!("cannot remove {}", shown.display()))?;
        self.note(format!("removed {}", shown.display()));
        Ok(true)
    }

    /// Makes a link lead there, if it does not.
    fn ensure_link(&self, path: &Path, target: &Path) -> Result<()> {
        if std::fs::read_link(path).is_ok_and(|current| current == target) {
            return Ok(());
        }
        let shown = self.layout.inside(path);
        self.system.link(path, target).with_context(|| format!("cannot write {}", shown.display()))?;
        self.note(format!("wrote {}", shown.display()));
        Ok(())
    }

    /// Makes a value below `/proc/sys` be this, where the running system is provisioned.
    fn ensure_kernel(&self, key: &str, value: &str) -> Result<()> {
        if self.system.is_running() && self.system.kernel(key).as_deref() != Some(value) {
            self.system.set_kernel(key, value).with_context(|| format!("cannot set {key}"))?;
            self.note(format!("set {key} to {value}"));
        }
        Ok(())
    }

    fn run(&self, command: &[&str]) -> Result<()> {
        self.system.run(command)?;
        self.note(format!("ran `{}`", command.join(" ")));
        Ok(())
    }

    fn add_pending(&self, actions: &[Action]) -> Result<()> {
        actions.iter().try_for_each(|action| self.pending.add(*action, self.system, self.layout))
    }

    fn complete(&self, action: Action) -> Result<()> {
        self.pending.complete(action, self.system, self.layout)
    }
}

const SERVICES: &str = "services";
const TLS: &str = "tls";

type Step = fn(&Plan, &Context) -> Result<()>;

/// In this order: what the box lets in comes before what it offers.
const APPLY: [(&str, Step); 10] = [
    ("hostname", hostname::ensure),
    ("time", time::ensure),
    ("firewall", firewall::ensure),
    ("memory", memory::ensure),
    ("limits", limits::ensure),
    (SERVICES, services::ensure),
    ("secrets", |_, context| secrets::ensure(context)),
    (TLS, tls::ensure),
    ("claim", claim::ensure),
    ("ssh", ssh::ensure),
];

/// Keeps a copy of the owner's settings while they are good; fails where something in them is wrong.
pub fn keep_settings(found: &OwnersSettings, context: &Context) -> StepReport {
    run_step(context, "settings", || settings::keep(found, context))
}

/// Makes sure of the machine's identity, from which its name follows.
pub fn identify(context: &Context) -> StepReport {
    run_step(context, "machine-id", || machine_id::ensure(context))
}

/// Runs every step; one that fails does not keep the others from running.
pub fn apply(plan: &Plan, context: &Context) -> Vec<StepReport> {
    let run = |name: &str, step: Step| {
        if name == SERVICES && !context.system.is_running() {
            let detail = "this tree is not the running system".to_owned();
            return StepReport { name: name.to_owned(), status: Status::Skipped, detail };
        }
        run_step(context, name, || step(plan, context))
    };
    APPLY.iter().map(|(name, step)| run(name, *step)).collect()
}

/// Runs the step that depends on addresses.
pub fn announce(tls_names: &[String], context: &Context) -> StepReport {
    run_step(context, TLS, || tls::certify(tls_names, context))
}

/// The certificate that is in place, for the report.
pub fn certificate(layout: &Layout) -> Option<Certificate> {
    tls::describe(layout)
}

/// What protects the secrets on the disk, for the report.
pub fn protection(layout: &Layout) -> Option<Secrets> {
    secrets::describe(layout)
}

/// Whether the box has an owner.
pub fn is_claimed(layout: &Layout) -> bool {
    claim::is_marked(layout)
}

/// The claim code, while there is no owner.
pub fn claim_code(layout: &Layout) -> Option<String> {
    claim::code(layout).filter(|_| !claim::is_marked(layout))
}

/// What a file holds now; nothing when it is missing or cannot be read.
fn current(path: &Path) -> Option<Vec<u8>> {
    read_small(path).ok().flatten()
}

fn differs(path: &Path, contents: &[u8]) -> bool {
    current(path).as_deref() != Some(contents)
}

fn run_step(context: &Context, name: &str, step: impl FnOnce() -> Result<()>) -> StepReport {
    context.changes.borrow_mut().clear();
    let outcome = step();
    let changes = context.changes.take();
    let (status, detail) = match outcome {
        Err(error) => {
            let mut words = changes;
            words.push(format!("{error:#}"));
            (Status::Failed, words.join("; "))
        }
        Ok(()) if changes.is_empty() => (Status::Unchanged, String::new()),
        Ok(()) => (Status::Applied, changes.join("; ")),
    };
    StepReport { name: name.to_owned(), status, detail }
}
