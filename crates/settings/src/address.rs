//! Where another node is: a host name or an IP address, and a port where it is not the usual one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// An address of another node, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither a name nor an IP address.
    #[error("An address is a host name or an IP address, such as node2.local, 10.0.0.2 or [fd00::2]:7000.")]
    Shape,
    /// The number behind the colon.
    #[error("A port is a number from 1 to 65535.")]
    Port,
}

impl Address {
    /// Takes an address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.parse::<IpAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return if socket.port() == 0 { Err(AddressError::Port) } else { Ok(Self(text.to_owned())) };
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if bare.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok()) {
            return Ok(Self(text.to_owned()));
        }
        let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        if !is_name(name) {
            return Err(AddressError::Shape);
        }
        let plain = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let good = |port: &str| plain(port) && port.parse::<u16>().is_ok_and(|port| port > 0);
        if port.is_some_and(|port| !good(port)) {
            return Err(AddressError::Port);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name of DNS. One whose last label is a number would be read as an IP address by others.
fn is_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.bytes().all(letters)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= LONGEST_NAME
        && name.split('.').all(label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
