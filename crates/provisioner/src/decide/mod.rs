//! What should be, as pure functions of what is: hardware, owner's settings and rules in; plan out.

mod accelerators;
mod changes;
mod firewall;
mod firmware;
mod memory;
mod mode;
mod processor;

use std::collections::BTreeSet;

use actionbooster_hardware::{BoardKind, Inventory};
use actionbooster_settings::{Hostname, Settings};
use serde::{Deserialize, Serialize};

pub use accelerators::Grant;
pub use changes::{Remembered, changes};
pub use firewall::{Action, Firewall, FirewallRule, Protocol};
pub use firmware::MissingFirmwareAdvice;
pub use memory::MemoryPlan;
pub use mode::ModePlan;
pub use processor::{RunnerCpus, WorkerCpus};

use crate::data::{Data, NoteWhen};
use crate::text::Text;

/// The first name of every box of earlier versions, and the beginning of today's.
pub const FIRST_NAME: &str = "actionbooster";

/// Everything that should be so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// How this machine is used, and why.
    pub mode: ModePlan,
    /// What this machine is.
    pub board: BoardPlan,
    /// Shares of memory.
    pub memory: MemoryPlan,
    /// Processors for a language model.
    pub runner: RunnerCpus,
    /// Processors for detection.
    pub worker: WorkerCpus,
    /// Who may use which accelerator.
    pub accelerators: Vec<Grant>,
    /// What may come in and go out.
    pub firewall: Firewall,
    /// Names of the box.
    pub network: NetworkPlan,
    /// Name of its time zone.
    pub time_zone: String,
    /// Lines for `authorized_keys`; empty means no SSH.
    pub ssh_keys: Vec<String>,
    /// Firmware that drivers asked for and did not find.
    pub missing_firmware: Vec<MissingFirmwareAdvice>,
}

/// What this machine is, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardPlan {
    /// Its family.
    pub kind: BoardKind,
    /// The name its firmware gives.
    pub name: String,
    /// Its maker.
    pub vendor: Option<String>,
    /// The family, for people.
    pub title: Text,
    /// What its owner should know.
    pub notes: Vec<Text>,
}

/// Names of the box and whether it may reach the internet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkPlan {
    /// One DNS label.
    pub hostname: String,
    /// The name on the LAN without a name server.
    pub mdns_name: String,
    /// Whether connections to the internet are allowed.
    pub online: bool,
    /// Names the certificate is for, besides addresses.
    pub tls_names: Vec<String>,
}

/// Decides everything.
///
/// `groups` are the names of the system's groups: a unit that asks for a missing one does not start.
/// `own_name` is the box's name where the owner gave it none.
pub fn decide(
    inventory: &Inventory,
    settings: &Settings,
    data: &Data,
    groups: &[String],
    own_name: &Hostname,
) -> Plan {
    let (runner, worker) = processor::share(&inventory.cpu, &inventory.npus);
    let (mode, rule) = mode::choose(inventory, settings, &data.modes);
    Plan {
        memory: memory::size(inventory, &rule, &data.modes),
        mode,
        board: board(inventory, data),
        runner,
        worker,
        accelerators: accelerators::grant(inventory, groups),
        firewall: firewall::rules(settings),
        network: network(settings, own_name),
        time_zone: settings.time_zone.to_string(),
        ssh_keys: settings.ssh_keys.iter().map(ToString::to_string).collect(),
        missing_firmware: firmware::advise(&inventory.missing_firmware, &data.firmware),
    }
}

fn board(inventory: &Inventory, data: &Data) -> BoardPlan {
    let board = &inventory.board;
    let known = data.boards.iter().find(|entry| entry.kinds.contains(&board.kind));
    let without_driver = inventory.npus.iter().any(|npu| npu.driver.is_none());
    let notes = known.map_or(&[][..], |entry| &entry.notes).iter().filter(|note| match note.when {
        NoteWhen::Always => true,
        NoteWhen::NpuWithoutDriver => without_driver,
    });
    BoardPlan {
        kind: board.kind,
        name: board.name.clone(),
        vendor: board.vendor.clone(),
        title: known.map_or_else(|| Text::same(board.name.clone()), |entry| entry.title.clone()),
        notes: notes.map(|note| note.text.clone()).collect(),
    }
}

fn network(settings: &Settings, own_name: &Hostname) -> NetworkPlan {
    let hostname = settings.hostname.as_ref().unwrap_or(own_name);
    NetworkPlan {
        mdns_name: hostname.mdns_name(),
        tls_names: tls_names(hostname.as_str(), hostname.as_str()),
        online: settings.online,
        hostname: hostname.to_string(),
    }
}

/// Names the certificate is for: the box's own, and the one under which the LAN finds it where
/// another device has that already. The first name of earlier versions stays valid after the owner
/// chose another: bookmarks and manuals use it.
pub fn tls_names(hostname: &str, published: &str) -> Vec<String> {
    let mdns_name = |name: &str| format!("{name}.local");
    let mut names =
        vec![mdns_name(hostname), hostname.to_owned(), mdns_name(published), mdns_name(FIRST_NAME)];
    names.push("localhost".into());
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}
