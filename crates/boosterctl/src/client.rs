//! Requests to a box, and what its answers mean.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::http::uri::Scheme;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ClientConfig;

use crate::connect::{self, Stream};
use crate::errors::{Answered, Unreachable, Usage};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Until an answer begins. A model that must be loaded first takes minutes.
const ANSWER_LIMIT: Duration = Duration::from_secs(900);
const LARGEST_ANSWER: usize = 16 << 20;
const JPEG: &str = "image/jpeg";

/// The daemon that has the answer; through nginx there is no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// Owner, keys, settings, reports.
    Monitor,
    /// Models, cameras.
    Agent,
    /// Object detection.
    Worker,
}

impl Daemon {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Monitor, Self::Agent, Self::Worker];

    /// The name in units and sockets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Agent => "agent",
            Self::Worker => "worker",
        }
    }
}

/// Which box.
pub enum Target {
    /// This one, through its sockets.
    Box {
        /// Folder below which its files are.
        root: PathBuf,
    },
    /// One on the network.
    Remote {
        /// Host, in brackets when an IPv6 address.
        host: String,
        /// Port.
        port: u16,
        /// Whom to trust; none for plain HTTP.
        tls: Option<Arc<ClientConfig>>,
    },
}

impl Target {
    /// The box at this address.
    pub fn remote(url: &str, ca: Option<&Path>) -> Result<Self> {
        let wrong =
            |why: &str| Usage(format!("--url {url}: {why}, such as https://actionbooster-1a2b.local"));
        let uri: Uri = url.parse().map_err(|_| wrong("write the address of a box"))?;
        if uri.path() != "/" || uri.query().is_some() {
            return Err(wrong("write the address without a path").into());
        }
        let host = uri.host().ok_or_else(|| wrong("write the address with a host"))?.to_owned();
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Some(connect::trust(ca)?),
            Some(scheme) if *scheme == Scheme::HTTP => None,
            _ => return Err(wrong("begin with https:// or http://").into()),
        };
        let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self::Remote { host, port, tls })
    }
}

/// Asks one box.
pub struct Client {
    target: Target,
    api_key: Option<String>,
}

/// An answer that is still coming, with the connection it comes over.
pub struct Answer {
    response: Response<Incoming>,
    connection: JoinHandle<()>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Answer {
    /// The next bytes of the body; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.response.body_mut().frame().await {
            let frame = frame.context("the connection to the box broke")?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body, unless the box refuses.
    async fn bytes(mut self) -> Result<Bytes> {
        let status = self.response.status();
        let body = Limited::new(self.response.body_mut(), LARGEST_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow!(error)).context("the answer broke off")?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body).into()) }
    }

    async fn json(self) -> Result<Value> {
        let body = self.bytes().await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).context("the answer is not JSON; is this an ActionBooster?")
    }
}

impl Client {
    /// A client of this box.
    pub fn new(target: Target, api_key: Option<String>) -> Self {
        Self { target, api_key: api_key.filter(|key| !key.is_empty()) }
    }

    /// The folder of this box's files; `None` for another box.
    pub fn root(&self) -> Option<&Path> {
        match &self.target {
            Target::Box { root } => Some(root),
            Target::Remote { .. } => None,
        }
    }

    /// `GET`, for JSON.
    pub async fn get(&self, daemon: Daemon, path: &str) -> Result<Value> {
        self.call(daemon, Method::GET, path, None).await
    }

    /// `POST` of JSON, for JSON.
    pub async fn post(&self, daemon: Daemon, path: &str, body: &Value) -> Result<Value> {
        self.call(daemon, Method::POST, path, Some(body)).await
    }

    /// Any method, for JSON; `Null` when the answer has no body.
    pub async fn call(
        &self,
        daemon: Daemon,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let body = body.map(|body| (Bytes::from(body.to_string()), "application/json"));
        self.send(daemon, method, path, body, "application/json").await?.json().await
    }

    /// `PUT` of bytes, for JSON.
    pub async fn put(&self, daemon: Daemon, path: &str, bytes: Vec<u8>) -> Result<Value> {
        let body = Some((Bytes::from(bytes), "application/octet-stream"));
        self.send(daemon, Method::PUT, path, body, "application/json").await?.json().await
    }

    /// `POST` of a picture, for JSON.
    pub async fn post_picture(&self, daemon: Daemon, path: &str, picture: Bytes) -> Result<Value> {
        let body = Some((picture, "application/octet-stream"));
        self.send(daemon, Method::POST, path, body, "application/json").await?.json().await
    }

    /// `GET`, for a page.
    pub async fn get_page(&self, daemon: Daemon, path: &str) -> Result<Bytes> {
        self.send(daemon, Method::GET, path, None, "text/html").await?.bytes().await
    }

    /// `GET`, for a picture.
    pub async fn get_jpeg(&self, daemon: Daemon, path: &str) -> Result<Bytes> {
        self.send(daemon, Method::GET, path, None, JPEG).await?.bytes().await
    }

    /// `POST` of JSON, for server-sent events; `GET` where there is nothing to send.
    pub async fn stream(&self, daemon: Daemon, path: &str, body: Option<&Value>) -> Result<Answer> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let body = body.map(|body| (Bytes::from(body.to_string()), "application/json"));
        let answer = self.send(daemon, method, path, body, "text/event-stream").await?;
        if answer.response.status().is_success() {
            return Ok(answer);
        }
        match answer.json().await {
            Err(error) => Err(error),
            Ok(_) => Err(anyhow!("the box neither answers nor says why")),
        }
    }

    async fn send(
        &self,
        daemon: Daemon,
        method: Method,
        path: &str,
        body: Option<(Bytes, &str)>,
        accept: &str,
    ) -> Result<Answer> {
        let (stream, place, host) = self.connect(daemon).await?;
        let broke = |error: hyper::Error| Unreachable(format!("{place} does not answer: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        let connection = tokio::spawn(async {
            // Whoever waits for the answer is told about the error.
            _ = connection.await;
        });
        let mut request =
            Request::builder().method(method).uri(path).header(HOST, host).header(ACCEPT, accept);
        if let Some(key) = &self.api_key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        let body = match body {
            Some((body, kind)) => {
                request = request.header(CONTENT_TYPE, kind);
                body
            }
            None => Bytes::new(),
        };
        let request = request
            .body(Full::new(body))
            .map_err(|_| Usage("the API key or an id holds characters that cannot be sent".into()))?;
        match tokio::time::timeout(ANSWER_LIMIT, sender.send_request(request)).await {
            Ok(Ok(response)) => Ok(Answer { response, connection }),
            Ok(Err(error)) => {
                connection.abort();
                Err(broke(error).into())
            }
            Err(_) => {
                connection.abort();
                Err(Unreachable(format!("{place} took too long to answer")).into())
            }
        }
    }

    /// A connection, the name of its place for people, and the `Host` to ask for.
    async fn connect(&self, daemon: Daemon) -> Result<(Box<dyn Stream>, String, String), Unreachable> {
        let (place, host, outcome) = match &self.target {
            Target::Box { root } => {
                let path = root.join(format!("run/actionbooster/{}.sock", daemon.name()));
                let outcome = tokio::time::timeout(CONNECT_LIMIT, connect::unix(&path)).await;
                (format!("the {} at {}", daemon.name(), path.display()), "localhost".into(), outcome)
            }
            Target::Remote { host, port, tls } => {
                let outcome =
                    tokio::time::timeout(CONNECT_LIMIT, connect::tcp(host, *port, tls.as_ref())).await;
                (format!("the box at {host} port {port}"), format!("{host}:{port}"), outcome)
            }
        };
        match outcome {
            Ok(Ok(stream)) => Ok((stream, place, host)),
            Ok(Err(error)) => {
                let advice = advice(&self.target, &error, daemon);
                Err(Unreachable(format!("cannot reach {place}: {error}. {advice}")))
            }
            Err(_) => Err(Unreachable(format!("cannot reach {place}: it does not answer in time."))),
        }
    }
}

fn advice(target: &Target, error: &std::io::Error, daemon: Daemon) -> String {
    match (target, error.kind()) {
        (Target::Box { .. }, ErrorKind::PermissionDenied) => "Run this as root: sudo boosterctl …".into(),
        (Target::Box { .. }, ErrorKind::NotFound) => {
            "On another machine than the box, say which with --url and the address on its screen, such as https://actionbooster-1a2b.local.".into()
        }
        (Target::Box { .. }, _) => format!("Look at: systemctl status booster-{}", daemon.name()),
        (Target::Remote { tls: Some(_), .. }, ErrorKind::InvalidData) => {
            "Download the box's certificate authority from http://…/ca and name the file with --ca.".into()
        }
        (Target::Remote { .. }, _) => "Check the address, and that the box is on.".into(),
    }
}

/// What an error answer says: problem+json, OpenAI's shape, or only a status.
fn refusal(status: StatusCode, body: &[u8]) -> Answered {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let message = text(&body["detail"])
        .or_else(|| text(&body["title"]))
        .or_else(|| text(&body["error"]["message"]))
        .unwrap_or_else(|| format!("the box answered {status}"));
    Answered { status: status.as_u16(), message, body }
}

/// Whether a text can be a name in a path: such a one leads nowhere else.
pub fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && !text.bytes().all(|byte| byte == b'.') && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood_or_refused_with_a_reason() {
        let cases = [
            ("http://box", Some(("box", 80))),
            ("http://box:8080", Some(("box", 8080))),
            ("http://192.168.1.7/", Some(("192.168.1.7", 80))),
            ("http://[fd00::7]:8080", Some(("[fd00::7]", 8080))),
            ("https://box", Some(("box", 443))),
            ("box", None),
            ("ftp://box", None),
            ("http://box/portal", None),
            ("", None),
        ];
        for (url, expected) in cases {
            let target = Target::remote(url, None);
            match (target, expected) {
                (Ok(Target::Remote { host, port, tls }), Some((name, number))) => {
                    assert_eq!((host.as_str(), port), (name, number), "{url}");
                    assert_eq!(tls.is_some(), url.starts_with("https"), "{url}");
                }
                (Err(error), None) => assert!(error.is::<Usage>(), "{url}: {error}"),
                (_, expected) => panic!("{url} should give {expected:?}"),
            }
        }
    }

    #[test]
    fn an_error_answer_says_what_the_box_says() {
        let cases = [
            (r#"{"type":"x","title":"T","detail":"Do this."}"#, "Do this."),
            (r#"{"title":"T"}"#, "T"),
            (r#"{"error":{"message":"M"}}"#, "M"),
            ("<html>", "the box answered 502 Bad Gateway"),
            ("", "the box answered 502 Bad Gateway"),
        ];
        for (body, expected) in cases {
            assert_eq!(refusal(StatusCode::BAD_GATEWAY, body.as_bytes()).message, expected);
        }
    }
}
