//! One request to a daemon's Unix socket.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Generation takes time; nothing takes longer than this.
const LIMIT: Duration = Duration::from_secs(600);
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum Failure {
    /// It was tried and failed.
    Failed(String),
    /// The daemon cannot be reached.
    Unreachable(String),
    /// The daemon refused.
    Refused(String),
}

impl Failure {
    /// The exit status that stands for it.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Unreachable(_) => 3,
            Self::Refused(_) => 4,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Failed(text) | Self::Unreachable(text) | Self::Refused(text)) = self;
        formatter.write_str(text)
    }
}

/// A daemon behind its socket.
pub(crate) struct Client {
    socket: PathBuf,
    api_key: Option<String>,
}

impl Client {
    pub(crate) fn new(socket: PathBuf, api_key: Option<String>) -> Self {
        Self { socket, api_key }
    }

    /// Sends a request and returns the JSON that came back; `null` for an empty answer.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let exchange = self.exchange(method, path, body);
        tokio::time::timeout(LIMIT, exchange)
            .await
            .map_err(|_| Failure::Failed(format!("no answer within {} seconds", LIMIT.as_secs())))?
    }

    async fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let unreachable = |error: &dyn std::fmt::Display| {
            let socket = self.socket.display();
            Failure::Unreachable(format!(
                "cannot reach {socket}: {error}; is the daemon running, and are you root?"
            ))
        };
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| unreachable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(&error))?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if let Some(key) = &self.api_key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let text = body.map(Value::to_string).unwrap_or_default();
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(text)))
            .map_err(|error| Failure::Failed(format!("the request cannot be sent: {error}")))?;
        let answer = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
        let status = answer.status();
        let collected = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
        driver.abort();
        let bytes =
            collected.map_err(|error| Failure::Failed(format!("the answer broke off: {error}")))?.to_bytes();
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let detail =
            value["detail"].as_str().or(value["title"].as_str()).unwrap_or("no reason was given").to_owned();
        if status.is_client_error() { Err(Failure::Refused(detail)) } else { Err(Failure::Failed(detail)) }
    }
}
