//! Sockets: taken from systemd or opened here.

use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use tokio::net::{TcpListener, UnixListener};

/// An address to listen on: `unix:/path` or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.starts_with('/') {
                return Ok(Self::Unix(path.into()));
            }
            return Err(format!("unix:{path} needs an absolute path, such as unix:/run/example.sock"));
        }
        text.parse()
            .map(Self::Tcp)
            .map_err(|_| format!("{text} is neither unix:/path nor an address like 127.0.0.1:5000"))
    }
}

/// A socket that listens.
pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Takes the sockets that systemd passed; without any, opens the given addresses.
pub(crate) fn listeners(addresses: &[Address]) -> Result<Vec<Listener>> {
    let passed = from_systemd()?;
    if !passed.is_empty() {
        return Ok(passed);
    }
    addresses.iter().map(open).collect()
}

fn from_systemd() -> Result<Vec<Listener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        if let Ok(Some(socket)) = passed.take_unix_listener(index) {
            listeners.push(unix(socket)?);
        } else if let Some(socket) =
            passed.take_tcp_listener(index).context("systemd passed an odd socket")?
        {
            listeners.push(tcp(socket)?);
        }
    }
    Ok(listeners)
}

fn open(address: &Address) -> Result<Listener> {
    match address {
        Address::Tcp(address) => {
            tcp(StdTcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?)
        }
        Address::Unix(path) => unix(bind_unix(path)?),
    }
}

/// Binds a Unix socket, replacing one that a dead process left. A living one is not taken over.
fn bind_unix(path: &Path) -> Result<StdUnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("another process already listens on {}", path.display());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove the old socket {}", path.display()));
        }
        _ => {}
    }
    let socket =
        StdUnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(socket)
}

fn unix(socket: StdUnixListener) -> Result<Listener> {
    socket.set_nonblocking(true)?;
    Ok(Listener::Unix(UnixListener::from_std(socket)?))
}

fn tcp(socket: StdTcpListener) -> Result<Listener> {
    socket.set_nonblocking(true)?;
    Ok(Listener::Tcp(TcpListener::from_std(socket)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unix_paths_or_sockets() {
        let cases = [
            ("unix:/run/a.sock", true),
            ("127.0.0.1:5000", true),
            ("[::1]:5000", true),
            ("unix:run/a.sock", false),
            ("5000", false),
            ("", false),
        ];
        for (text, accepted) in cases {
            assert_eq!(text.parse::<Address>().is_ok(), accepted, "{text:?}");
        }
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("made/on/demand.sock");
        drop(bind_unix(&path).expect("binds"));
        assert!(path.exists(), "the dead process left its socket");
        let living = bind_unix(&path).expect("replaces it");
        let refused = bind_unix(&path).expect_err("another process listens").to_string();
        assert!(refused.contains("already listens"), "{refused}");
        drop(living);
    }
}
