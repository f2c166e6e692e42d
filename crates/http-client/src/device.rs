//! Devices of the home, cameras above all, asked over HTTP as they are: with certificates that nobody vouches for,
//! a login in their address, and headers that no standard knows.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_auth::{PasswordClient, PasswordParams};
use percent_encoding::percent_decode_str;
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use tokio::time::timeout;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::{CONNECT_LIMIT, ClientError, innermost};

/// How long a device may take to begin an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const REDIRECTIONS: usize = 4;
/// Headers of an answer at most.
const HEADERS: usize = 64;

/// Why a device gave nothing. None of it tells a password.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Its address means nothing here.
    #[error("its address is not understood: {0}")]
    Address(String),
    /// It speaks, and not what is spoken here.
    #[error("its answer is not understood: {0}")]
    Strange(String),
    /// It could not be asked.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It took too long.
    #[error("it did not answer within {} s", ANSWER_LIMIT.as_secs())]
    Late,
    /// It sends on to another host.
    #[error("it sends on to {0}; write that address if it is the right one")]
    Elsewhere(String),
    /// It sends on too often.
    #[error("it sends on from one address to the next, more than {REDIRECTIONS} times")]
    Circle,
    /// The place of this address wants a login that it was not given.
    #[error("{0} wants a user and a password (401); write both into its address")]
    LoginWanted(String),
    /// It wants a login of another kind than Basic and Digest.
    #[error(
        "it wants a login of a kind that is not known here (401); choose Basic or Digest in its settings"
    )]
    LoginUnknown,
    /// It was given a login, and says no.
    #[error("it refuses the user or the password (401)")]
    LoginRefused,
    /// It answers with something else.
    #[error("it answers {0}; check the path of its address")]
    Status(StatusCode),
}

/// The login of an address.
struct Login {
    user: String,
    password: String,
}

/// A device at an address. Holds a secret, so it has no `Debug`.
///
/// Where it sends on, that is followed within its host only; its login goes with it to the same port, or from
/// plain HTTP to TLS, and to no other place.
pub struct Device {
    client: Client,
    url: Url,
    login: Option<Login>,
    /// What it asked for last; the next request answers it at once.
    challenge: Option<PasswordClient>,
}

impl Device {
    /// A device at an address that may hold a login. Nothing is asked yet.
    pub fn new(address: &str) -> Result<Self, DeviceError> {
        let mut url = Url::parse(address).map_err(|error| DeviceError::Address(error.to_string()))?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let login = (!url.username().is_empty() || url.password().is_some()).then(|| Login {
            user: decoded(url.username()),
            password: decoded(url.password().unwrap_or_default()),
        });
        forget_login(&mut url)?;
        Ok(Self { client: client()?, url, login, challenge: None })
    }

    /// Asks it. The answer is a good one; how long its body may take is for the caller to say.
    pub async fn get(&mut self) -> Result<Response, DeviceError> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTIONS {
            let response = self.ask(&url).await?;
            let status = response.status();
            if status.is_redirection()
                && let Some(onward) = response.headers().get(LOCATION)
            {
                url = self.onward(&url, onward)?;
            } else if status.is_success() {
                return Ok(response);
            } else {
                return Err(DeviceError::Status(status));
            }
        }
        Err(DeviceError::Circle)
    }

    /// Asks one address, and once more with the login where that is wanted.
    async fn ask(&mut self, url: &Url) -> Result<Response, DeviceError> {
        let response = self.send(url).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        if self.login_for(url).is_none() {
            return Err(DeviceError::LoginWanted(url.origin().ascii_serialization()));
        }
        let challenge = PasswordClient::try_from(response.headers().get_all(WWW_AUTHENTICATE));
        self.challenge = Some(challenge.map_err(|_| DeviceError::LoginUnknown)?);
        drop(response);
        let response = self.send(url).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.challenge = None;
            return Err(DeviceError::LoginRefused);
        }
        Ok(response)
    }

    async fn send(&mut self, url: &Url) -> Result<Response, DeviceError> {
        let mut request = self.client.get(url.clone());
        if let Some(answer) = self.authorization(url)? {
            request = request.header(AUTHORIZATION, answer);
        }
        match timeout(ANSWER_LIMIT, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if is_strange(&error) => Err(DeviceError::Strange(innermost(&error))),
            Ok(Err(error)) => Err(DeviceError::Unreachable(innermost(&error))),
            Err(_) => Err(DeviceError::Late),
        }
    }

    fn authorization(&mut self, url: &Url) -> Result<Option<HeaderValue>, DeviceError> {
        if !is_place(&self.url, url) {
            return Ok(None);
        }
        let (Some(login), Some(challenge)) = (&self.login, &mut self.challenge) else { return Ok(None) };
        let uri =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let answer = challenge.respond(&PasswordParams {
            username: &login.user,
            password: &login.password,
            uri: &uri,
            method: "GET",
            body: None,
        });
        let header = answer.ok().and_then(|answer| HeaderValue::from_str(&answer).ok());
        let mut header = header.ok_or(DeviceError::LoginUnknown)?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    fn login_for(&self, url: &Url) -> Option<&Login> {
        self.login.as_ref().filter(|_| is_place(&self.url, url))
    }

    /// Where it sends on to.
    fn onward(&self, from: &Url, location: &HeaderValue) -> Result<Url, DeviceError> {
        let strange = |why: &str| DeviceError::Strange(format!("it sends on to {why}"));
        let text = location.to_str().map_err(|_| strange("an address that is no text"))?;
        let mut url = from.join(text).map_err(|_| strange("an address that is none"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(DeviceError::Elsewhere(format!("{}:", url.scheme())));
        }
        if url.host() != self.url.host() {
            return Err(DeviceError::Elsewhere(url.origin().ascii_serialization()));
        }
        forget_login(&mut url)?;
        Ok(url)
    }
}

/// Whether what `own` is trusted with may go there.
fn is_place(own: &Url, url: &Url) -> bool {
    let ports = (own.port_or_known_default(), url.port_or_known_default());
    let same = own.scheme() == url.scheme() && ports.0 == ports.1;
    let secured = (own.scheme(), url.scheme(), ports) == ("http", "https", (Some(80), Some(443)));
    own.host() == url.host() && (same || secured)
}

/// It goes into a header where it is asked for, and into no request line.
fn forget_login(url: &mut Url) -> Result<(), DeviceError> {
    let host = |()| DeviceError::Address("it names no host".into());
    url.set_username("").map_err(host)?;
    url.set_password(None).map_err(host)
}

/// Whether it was there, and spoke something else than HTTP or than the TLS of today.
fn is_strange(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(now) = cause {
        if now.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) || now.is::<rustls::Error>()
        {
            return true;
        }
        // What an error of the system was made of is no source of it.
        let inner = now.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| now.source());
    }
    false
}

fn client() -> Result<Client, ClientError> {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_LIMIT)
        .pool_max_idle_per_host(1)
        .user_agent("ActionBooster")
        .http1_only()
        .http1_max_headers(HEADERS)
        // As small servers write them, and read them.
        .http1_title_case_headers()
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .build()?)
}

/// Devices sign their certificates themselves, often with algorithms of long ago: TLS keeps out who listens, and
/// not who stands in between.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer,
        _: &[CertificateDer],
        _: &ServerName,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
