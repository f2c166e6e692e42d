//! The owner's settings and their rules, in one place for everything that reads or writes them.
//!
//! [`Settings`] is `settings.toml`: the monitor writes it, the provisioner makes it so. The rules of
//! single values stand beside it. The portal keeps a copy of some of them in another language; the
//! table `tests/cases.json` is checked against both.

pub mod account;
pub mod claim_code;
pub mod recovery_key;

mod address;
mod change;
mod fault;
mod hostname;
mod ssh_key;
mod time_zone;
mod written;

pub use address::{Address, AddressError};
pub use change::Change;
pub use fault::{Fault, Problem};
pub use hostname::{Hostname, HostnameError};
pub use ssh_key::{PublicKey, PublicKeyError};
pub use time_zone::{TimeZone, TimeZoneError};

/// Most SSH keys that are accepted.
pub const MOST_SSH_KEYS: usize = 32;
/// Most nodes that a box is joined to.
pub const MOST_NODES: usize = 64;

/// What the owner wishes, checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Whether connections beyond the LAN are allowed.
    pub online: bool,
    /// Name of the box on the network; the box has one of its own where the owner gave none.
    pub hostname: Option<Hostname>,
    /// Time zone of the box.
    pub time_zone: TimeZone,
    /// Keys that may log in over SSH; none switches SSH off.
    pub ssh_keys: Vec<PublicKey>,
    /// Other nodes this box is joined to.
    pub join: Vec<Address>,
    /// The file as it was read: what other versions of the product wrote stays in it.
    pub table: toml::Table,
}
