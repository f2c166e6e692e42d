//! Where a request comes from.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};

use crate::problem::Problem;

/// Set by nginx, which overwrites what a client sends.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process on this box, and the user it runs as.
    Unix { uid: Option<u32> },
    /// An address.
    Tcp(IpAddr),
}

/// Where a request comes from. An extractor for handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// Root on this box, over the Unix socket.
    Console,
    /// Another program on this box.
    Local,
    /// The network, by way of nginx or directly; without an address when it cannot be told.
    Remote(Option<IpAddr>),
}

impl Client {
    /// What nginx passes on comes from the network, whichever account nginx runs as.
    pub(crate) fn of(peer: Option<Peer>, headers: &HeaderMap) -> Self {
        if let Some(forwarded) = headers.get(FORWARDED_FOR) {
            return Self::Remote(forwarded.to_str().ok().and_then(|text| text.trim().parse().ok()));
        }
        match peer {
            Some(Peer::Unix { uid: Some(0) }) => Self::Console,
            Some(Peer::Unix { .. }) => Self::Local,
            Some(Peer::Tcp(address)) if address.to_canonical().is_loopback() => Self::Local,
            Some(Peer::Tcp(address)) => Self::Remote(Some(address)),
            None => Self::Remote(None),
        }
    }

    /// The client as something to count by: an IPv6 client owns 2^64 addresses, so its network counts.
    #[must_use]
    pub fn network(self) -> Self {
        let Self::Remote(Some(address)) = self else { return self };
        Self::Remote(Some(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
            v4 @ IpAddr::V4(_) => v4,
        }))
    }

    pub(crate) const fn is_on_this_box(self) -> bool {
        matches!(self, Self::Console | Self::Local)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Console => formatter.write_str("console"),
            Self::Local => formatter.write_str("local"),
            Self::Remote(Some(address)) => write!(formatter, "{address}"),
            Self::Remote(None) => formatter.write_str("unknown"),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(Self::Remote(None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_client_is_told_by_its_connection_and_by_nginx() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("address");
        let root = Some(Peer::Unix { uid: Some(0) });
        let nginx = Some(Peer::Unix { uid: Some(33) });
        let cases = [
            (root, None, Client::Console),
            (nginx, None, Client::Local),
            (Some(Peer::Unix { uid: None }), None, Client::Local),
            (Some(Peer::Tcp(ip("127.0.0.1"))), None, Client::Local),
            (Some(Peer::Tcp(ip("::ffff:127.0.0.1"))), None, Client::Local),
            (Some(Peer::Tcp(ip("192.0.2.1"))), None, Client::Remote(Some(ip("192.0.2.1")))),
            (nginx, Some("192.0.2.7"), Client::Remote(Some(ip("192.0.2.7")))),
            (root, Some("2001:db8::1"), Client::Remote(Some(ip("2001:db8::1")))),
            (root, Some("nonsense"), Client::Remote(None)),
            (root, Some(""), Client::Remote(None)),
            (None, None, Client::Remote(None)),
        ];
        for (peer, forwarded, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(text) = forwarded {
                headers.insert(FORWARDED_FOR, HeaderValue::from_static(text));
            }
            assert_eq!(Client::of(peer, &headers), expected, "{peer:?} {forwarded:?}");
        }
    }

    #[test]
    fn ipv6_clients_are_counted_by_network() {
        let remote = |text: &str| Client::Remote(Some(text.parse().expect("address")));
        for (address, network) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            assert_eq!(remote(address).network(), remote(network));
        }
    }
}
