//! Serving until told to stop, then draining.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower_http::timeout::TimeoutBody;

use crate::client::Peer;
use crate::connection_limiter::{ConnectionLimiter, ConnectionPermit};
use crate::limits::Limits;
use crate::sockets::Listener;

/// Pause after a failed accept, which means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets open requests finish for a bounded time.
pub(crate) async fn serve(listeners: Vec<Listener>, router: Router, stop: CancellationToken, limits: Limits) {
    let tasks: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(accept(listener, router.clone(), stop.clone(), limits)))
        .collect();
    for task in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, "a listener ended badly");
        }
    }
}

async fn accept(listener: Listener, router: Router, stop: CancellationToken, limits: Limits) {
    let graceful = GracefulShutdown::new();
    let limiter = ConnectionLimiter::new(limits.connections);
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener, &limiter) => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((permit, Connection::Unix(stream))) => {
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                handle(stream, Peer::Unix { uid }, permit, router.clone(), &graceful, limits);
            }
            Ok((permit, Connection::Tcp(stream, address))) => {
                handle(stream, Peer::Tcp(address.ip()), permit, router.clone(), &graceful, limits);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(limits.grace, graceful.shutdown()).await.is_err() {
        tracing::warn!(grace_s = limits.grace.as_secs(), "connections were still open when the grace ended");
    }
}

enum Connection {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream, SocketAddr),
}

/// The next connection, once there is a permit for it.
async fn next(
    listener: &Listener,
    limiter: &Arc<ConnectionLimiter>,
) -> std::io::Result<(ConnectionPermit, Connection)> {
    let permit = limiter.acquire().await?;
    let connection = match listener {
        Listener::Unix(listener) => Connection::Unix(listener.accept().await?.0),
        Listener::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection was gone before it was served");
            }
            Connection::Tcp(stream, address)
        }
    };
    Ok((permit, connection))
}

fn handle<S>(
    stream: S,
    peer: Peer,
    permit: ConnectionPermit,
    router: Router,
    graceful: &GracefulShutdown,
    limits: Limits,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begin = permit.begin();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let in_flight = begin();
        let mut request: Request =
            request.map(|body| axum::body::Body::new(TimeoutBody::new(limits.body_pause, body)));
        request.extensions_mut().insert(peer);
        let answer = router.clone().oneshot(request);
        async move {
            let answer = answer.await?;
            // It is in flight until the last piece of the answer has left.
            let counted = move |body: axum::body::Body| body.map_frame(move |frame| (&in_flight, frame).1);
            Ok::<_, Infallible>(answer.map(counted))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(stream), service);
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = watched => ended,
            // It is idle: nothing is lost with it.
            () = permit.close().cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

#[cfg(test)]
mod tests;
