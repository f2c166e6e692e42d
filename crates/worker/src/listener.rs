//! The port of `ai.proto`: accepting, TLS, and the end of all connections.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Shared;
use crate::connection::converse;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long connections may take to end when the worker does.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after an accept that failed, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The settings of TLS, when there are any.
pub(crate) fn tls(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<TlsAcceptor>> {
    let (certificate, key) = match (certificate, key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => bail!("[worker] tls_certificate and tls_key belong together; one of them is missing"),
    };
    let wrong = |path: &Path| format!("cannot use {}", path.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .with_context(|| wrong(certificate))?;
    let secret = PrivateKeyDer::from_pem_file(key).with_context(|| wrong(key))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| wrong(certificate))?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// Listens until the shutdown. What is returned ends when every connection has.
pub(crate) async fn listen(
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    worker: Shared,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + 'static> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ([worker] listen)"))?;
    tracing::info!(%address, tls = tls.is_some(), guarded = worker.guarded, "listening");
    let connections = TaskTracker::new();
    let tracked = connections.clone();
    let accepting = tokio::spawn(async move {
        while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // Results are small and awaited.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
            let (worker, shutdown, tls) = (Arc::clone(&worker), shutdown.clone(), tls.clone());
            connections.spawn(async move {
                match tls {
                    None => converse(stream, peer, worker, shutdown).await,
                    Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                        Ok(Ok(stream)) => converse(stream, peer, worker, shutdown).await,
                        Ok(Err(error)) => tracing::info!(%peer, %error, "no TLS"),
                        Err(_) => tracing::info!(%peer, "a TLS handshake took too long"),
                    },
                }
            });
        }
    });
    Ok(async move {
        if let Err(error) = accepting.await {
            tracing::warn!(%error, "the listener ended badly");
        }
        tracked.close();
        if tokio::time::timeout(DRAIN, tracked.wait()).await.is_err() {
            tracing::warn!("connections were cut off at the end");
        }
    })
}
