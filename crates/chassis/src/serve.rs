//! Sockets: taken from systemd or opened here, served until told to stop, then drained.

use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::layers::FromRoot;

/// A client has this long to send its request's head.
const HEADER_LIMIT: Duration = Duration::from_secs(15);
/// Pause after a failed accept, which means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// Serves until `stop`, then lets open requests finish for at most `grace`.
pub(crate) async fn serve(
    listeners: Vec<Listener>,
    router: Router,
    stop: CancellationToken,
    grace: Duration,
) {
    let tasks: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(accept(listener, router.clone(), stop.clone(), grace)))
        .collect();
    for task in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, "a listener ended badly");
        }
    }
}

async fn accept(listener: Listener, router: Router, stop: CancellationToken, grace: Duration) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener) => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok(Connection::Unix { stream, root }) => handle(stream, root, router.clone(), &graceful),
            Ok(Connection::Tcp(stream)) => handle(stream, false, router.clone(), &graceful),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!(grace_s = grace.as_secs(), "connections were still open when the grace ended");
    }
}

enum Connection {
    Unix { stream: tokio::net::UnixStream, root: bool },
    Tcp(tokio::net::TcpStream),
}

async fn next(listener: &Listener) -> std::io::Result<Connection> {
    match listener {
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let root = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0);
            Ok(Connection::Unix { stream, root })
        }
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Connection::Tcp(stream))
        }
    }
}

fn handle<S>(stream: S, root: bool, router: Router, graceful: &GracefulShutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        // nginx names the client it speaks for; root on the box speaks for itself.
        if root && !request.headers().contains_key("x-forwarded-for") {
            request.extensions_mut().insert(FromRoot);
        }
        router.clone().oneshot(request.map(axum::body::Body::new) as Request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::Address;

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
}
