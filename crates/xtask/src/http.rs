//! Requests to a running appliance, made with the builder's curl, so that TLS is checked for real.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::builder::Builder;

/// How long one request may take; generation under emulation is slow.
const REQUEST_LIMIT: &str = "300";
/// Seconds that events are listened to at a time.
const LISTENING: &str = "2";
/// Pause between two attempts while something starts.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Who a request is from.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Nobody.
    None,
    /// An API key.
    Key(String),
    /// A portal session, as the value of its cookie.
    Session(String),
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status; 0 when no answer came.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body)
            .with_context(|| format!("status {}, not JSON: {}", self.status, self.body))
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The answer, if its status is `expected`.
    pub fn expect(self, expected: u16) -> Result<Self> {
        if self.status != expected {
            bail!("expected status {expected}, got {}: {}", self.status, self.body.trim());
        }
        Ok(self)
    }
}

/// A client of one appliance.
pub struct Client<'a> {
    builder: &'a Builder,
    /// Such as `https://localhost:8443`.
    pub base_url: String,
    /// Certificate of the appliance's own authority, as the builder sees it.
    pub ca: Option<PathBuf>,
}

impl<'a> Client<'a> {
    /// A client for this address. Without a `ca` only plain HTTP works.
    pub fn new(builder: &'a Builder, base_url: &str, ca: Option<PathBuf>) -> Self {
        Self { builder, base_url: base_url.to_owned(), ca }
    }

    /// Sends a request. A connection that fails is an answer with status 0.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>, from: &Credentials) -> Result<Answer> {
        let mut argv = self.curl(method, from);
        argv.extend(["-i".into(), "--max-time".into(), REQUEST_LIMIT.into()]);
        if let Some(body) = body {
            argv.extend([
                "-H".into(),
                "Content-Type: application/json".into(),
                "-d".into(),
                body.to_string(),
            ]);
        }
        argv.push(format!("{}{path}", self.base_url));
        let output = self.builder.command(&argv).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.is_empty() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Ok(Answer { status: 0, headers: Vec::new(), body: why });
        }
        parse(&text)
    }

    /// GET of something that is no text, such as a picture.
    pub fn bytes(&self, path: &str, from: &Credentials) -> Result<Vec<u8>> {
        let mut argv = self.curl("GET", from);
        argv.extend(["--fail".into(), "--max-time".into(), REQUEST_LIMIT.into()]);
        argv.push(format!("{}{path}", self.base_url));
        let output = self.builder.command(&argv).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("GET {path}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output.stdout)
    }

    /// The appliance's events that it remembers, after the one of this id, and those of the next two seconds.
    pub fn events(&self, after: u64, from: &Credentials) -> Result<Vec<Value>> {
        let mut argv = self.curl("GET", from);
        argv.extend(["--no-buffer".into(), "--max-time".into(), LISTENING.into()]);
        argv.extend(["-H".into(), format!("Last-Event-ID: {after}")]);
        argv.push(format!("{}/api/v1/events", self.base_url));
        // The stream has no end: curl always ends by its time.
        let output = self.builder.command(&argv).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        let data = whole.lines().filter_map(|line| line.strip_prefix("data:"));
        data.map(|json| serde_json::from_str(json).with_context(|| format!("not an event: {json}"))).collect()
    }

    /// curl with what every request has.
    fn curl(&self, method: &str, from: &Credentials) -> Vec<String> {
        let mut argv: Vec<String> = ["curl", "-sS", "--http1.1", "-X", method].map(str::to_owned).into();
        if let Some(ca) = &self.ca {
            argv.extend(["--cacert".into(), ca.display().to_string()]);
        }
        match from {
            Credentials::None => {}
            Credentials::Key(key) => argv.extend(["-H".into(), format!("Authorization: Bearer {key}")]),
            Credentials::Session(cookie) => argv.extend([
                "-H".into(),
                format!("Cookie: booster_session={cookie}"),
                "-H".into(),
                format!("Origin: {}", self.base_url),
            ]),
        }
        argv
    }

    /// GET.
    pub fn get(&self, path: &str, from: &Credentials) -> Result<Answer> {
        self.send("GET", path, None, from)
    }

    /// POST with a JSON body.
    pub fn post(&self, path: &str, body: &Value, from: &Credentials) -> Result<Answer> {
        self.send("POST", path, Some(body), from)
    }

    /// Repeats a GET until `accept` holds or `limit` has passed; `alive` may end the wait early.
    pub fn wait(
        &self,
        path: &str,
        limit: Duration,
        mut alive: impl FnMut() -> Result<()>,
        accept: impl Fn(&Answer) -> bool,
    ) -> Result<Answer> {
        let started = Instant::now();
        loop {
            alive()?;
            let answer = self.get(path, &Credentials::None)?;
            if accept(&answer) {
                return Ok(answer);
            }
            if started.elapsed() > limit {
                bail!(
                    "{}{path} did not answer as expected within {limit:?}; last: status {} {}",
                    self.base_url,
                    answer.status,
                    answer.body.trim()
                );
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}

/// Splits curl's `-i` output; interim (1xx) answers are skipped.
fn parse(text: &str) -> Result<Answer> {
    let mut rest = text;
    loop {
        let (head, body) =
            rest.split_once("\r\n\r\n").with_context(|| format!("not an HTTP answer: {rest:.200}"))?;
        let mut lines = head.lines();
        let status_line = lines.next().unwrap_or_default();
        let status: u16 = status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .with_context(|| format!("not a status line: {status_line}"))?;
        if (100..200).contains(&status) {
            rest = body;
            continue;
        }
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        return Ok(Answer { status, headers, body: body.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_final_answer_is_taken_and_interim_ones_are_skipped() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nSet-Cookie: a=b\r\n\r\n{\"x\":1}";
        let answer = parse(text).expect("parses");
        assert_eq!(answer.status, 201);
        assert_eq!(answer.header("set-cookie"), Some("a=b"));
        assert_eq!(answer.body, "{\"x\":1}");
    }
}
