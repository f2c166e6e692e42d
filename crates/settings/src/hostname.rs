//! The box's name on the network.

use std::fmt;

/// One label of RFC 1123, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostname(String);

/// Why a text is no host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    /// Its letters or its length.
    #[error(
        "A name has 1 to {most} letters, digits and dashes, and neither begins nor ends with a dash.",
        most = Hostname::LONGEST
    )]
    Shape,
    /// Every machine calls itself so.
    #[error("Every machine calls itself localhost; choose another name.")]
    Localhost,
}

impl Hostname {
    /// Longest label that DNS carries.
    pub const LONGEST: usize = 63;

    /// Takes a name as people type it; capital letters do not matter.
    pub fn parse(text: &str) -> Result<Self, HostnameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let shaped = (1..=Self::LONGEST).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !shaped {
            return Err(HostnameError::Shape);
        }
        let name = text.to_ascii_lowercase();
        // systemd-resolved answers for no such name.
        if name == "localhost" { Err(HostnameError::Localhost) } else { Ok(Self(name)) }
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name under which the LAN finds it without a name server.
    pub fn mdns_name(&self) -> String {
        format!("{}.local", self.0)
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
