//! What is wrong with a value, and where it stands.

use crate::{AddressError, HostnameError, PublicKeyError, TimeZoneError};

/// One value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Fault {
    /// Where it stands, such as `hostname` or `ssh_keys[1]`.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The whole file is no TOML.
    #[error("the file cannot be read: {0}")]
    Syntax(String),
    /// Something else is expected there.
    #[error("{0} is expected")]
    Type(&'static str),
    /// The list is too long.
    #[error("at most {0} are accepted")]
    TooMany(usize),
    /// It is no host name.
    #[error(transparent)]
    Hostname(#[from] HostnameError),
    /// It is no time zone.
    #[error(transparent)]
    TimeZone(#[from] TimeZoneError),
    /// It is no public key.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
    /// It is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl Fault {
    /// A fault of a field.
    pub fn new(field: impl Into<String>, problem: impl Into<Problem>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The setting it belongs to: `ssh_keys` for `ssh_keys[1]`.
    pub fn setting(&self) -> &str {
        self.field.split('[').next().unwrap_or_default()
    }
}
