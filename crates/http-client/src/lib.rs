//! The HTTP client for other programs' servers, and answers of a bounded size; and one for devices of the home.

mod device;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Response, redirect};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub use device::{Device, DeviceError};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const REDIRECTIONS: usize = 8;
/// Bytes of somebody else's words that are repeated to the client.
const QUOTED: usize = 600;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// The client cannot be built.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

/// A client that goes only where it is told: no proxy, no redirection.
///
/// Servers with TLS are believed when this system trusts their certificate.
/// A server that says nothing for `silence` is taken for gone.
pub fn client(silence: Duration) -> Result<Client, ClientError> {
    Ok(builder(silence)?.redirect(redirect::Policy::none()).build()?)
}

/// The same for downloads, which hubs redirect to where their files lie.
pub fn downloader(silence: Duration) -> Result<Client, ClientError> {
    Ok(builder(silence)?.redirect(redirect::Policy::limited(REDIRECTIONS)).build()?)
}

fn builder(silence: Duration) -> Result<ClientBuilder, ClientError> {
    let mut roots = RootCertStore::empty();
    // A system without certificates can still talk to servers without TLS.
    let (trusted, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    tracing::debug!(trusted, "certificates of this system");
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(silence))
}

/// Why an answer could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It has more bytes than are read.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// Bytes that are read.
        limit: usize,
    },
    /// The connection broke off.
    #[error("{}", innermost(.0))]
    Broken(#[from] reqwest::Error),
}

/// The whole body, when it has at most `limit` bytes. What the server announces is not believed.
pub async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, ReadError> {
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(ReadError::TooLarge { limit });
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > limit {
            return Err(ReadError::TooLarge { limit });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What was at the bottom of it: reqwest itself only says that something failed.
pub fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_timeout() { "no answer in time".into() } else { cause.to_string() }
}

/// The beginning of what another program says, in one line without control characters.
pub fn quoted(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|character: char| character.is_whitespace() || character.is_control()) {
        if word.is_empty() {
            continue;
        }
        if line.len() + word.len() > QUOTED {
            line.extend(word.chars().take(QUOTED.saturating_sub(line.len()) / 4));
            line.push('…');
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_others_are_short_and_in_one_line() {
        assert_eq!(quoted(" out of\n\nmemory \u{1b}[31m"), "out of memory [31m");
        let long = quoted(&"ñ".repeat(10_000));
        assert!(long.len() <= QUOTED + "…".len() && long.ends_with('…'), "{}", long.len());
        assert!(quoted(&"word ".repeat(1000)).len() <= QUOTED + "…".len());
    }

    #[test]
    fn a_client_can_be_built_with_what_this_system_has() {
        client(CONNECT_LIMIT).expect("client");
    }
}
