//! An appliance that runs somewhere (in `dev` or in the VM), seen as its owner sees it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::builder::{Builder, hex};
use crate::http::{Answer, Client, Credentials};

/// The owner that tests and `run` create.
const OWNER: &str = "owner";

/// What `--ready-file` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// Portal and APIs.
    pub base_url: String,
    /// PEM file of the appliance's own certificate authority.
    pub ca_cert: PathBuf,
    /// A key with every scope.
    pub api_key: Option<String>,
    /// The owner's name and password.
    pub owner: Option<Owner>,
    /// The claim code of a box that nobody has claimed.
    pub claim_code: Option<String>,
    /// Ports on the loopback interface of this host.
    pub ports: Ports,
    /// How to get a shell in the VM.
    pub ssh: Option<Ssh>,
}

/// The owner's credentials.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Owner {
    /// Name.
    pub name: String,
    /// Password.
    pub password: String,
}

/// Ports on the loopback interface of this host.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ports {
    /// TLS.
    pub https: u16,
    /// Redirects and the page that hands out the authority's certificate.
    pub http: u16,
    /// The worker's own (`ai.proto`), where it can be reached.
    pub worker: Option<u16>,
}

/// How to get a shell in the VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ssh {
    /// Port on the loopback interface of this host.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Private key file.
    pub key: PathBuf,
}

impl Ready {
    /// Writes the file so that a reader never sees half of it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let partial = path.with_extension("partial");
        fs::write(&partial, serde_json::to_vec_pretty(self)?)
            .and_then(|()| fs::rename(&partial, path))
            .with_context(|| format!("cannot write the ready file {}", path.display()))
    }

    /// The same with paths as programs inside the builder see them.
    pub fn inside(&self, builder: &Builder) -> Result<Self> {
        let mut copy = self.clone();
        copy.ca_cert = builder.inside(&copy.ca_cert)?;
        if let Some(ssh) = &mut copy.ssh {
            ssh.key = builder.inside(&ssh.key)?;
        }
        Ok(copy)
    }
}

/// A reachable appliance.
pub struct Appliance<'a> {
    /// Client of the TLS port.
    pub portal: Client<'a>,
    /// Client of the plain port.
    pub plain: Client<'a>,
    ports: Ports,
    ca_cert: PathBuf,
}

impl<'a> Appliance<'a> {
    /// Waits until the portal answers and takes its authority's certificate from the plain port.
    ///
    /// `alive` is asked before every attempt and ends the wait with its error.
    pub fn reach(
        builder: &'a Builder,
        ports: Ports,
        folder: &Path,
        limit: Duration,
        mut alive: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        let plain = Client::new(builder, &format!("http://localhost:{}", ports.http), None);
        let certificate = plain.wait("/ca.crt", limit, &mut alive, |answer| {
            answer.status == 200 && answer.body.contains("BEGIN CERTIFICATE")
        })?;
        let ca_cert = folder.join("ca.crt");
        fs::write(&ca_cert, &certificate.body)?;
        let portal = Client::new(
            builder,
            &format!("https://localhost:{}", ports.https),
            Some(builder.inside(&ca_cert)?),
        );
        // 503 is the page of a box whose data partition is damaged.
        portal.wait("/", limit, &mut alive, |answer| matches!(answer.status, 200 | 503))?;
        Ok(Self { portal, plain, ports, ca_cert })
    }

    /// Waits until every part reports that it works.
    pub fn wait_healthy(&self, limit: Duration, alive: impl FnMut() -> Result<()>) -> Result<Value> {
        let answer = self.portal.wait("/health", limit, alive, |answer| {
            answer.status == 200 && answer.json().is_ok_and(|health| health["status"] == "ok")
        })?;
        answer.json()
    }

    /// A ready file's content, before anybody claimed the box.
    pub fn unclaimed(&self, claim_code: &str) -> Ready {
        Ready {
            base_url: self.portal.base_url.clone(),
            ca_cert: self.ca_cert.clone(),
            api_key: None,
            owner: None,
            claim_code: Some(claim_code.to_owned()),
            ports: self.ports,
            ssh: None,
        }
    }

    /// Claims the box as its owner would and makes an API key.
    pub fn claim(&self, claim_code: &str) -> Result<Ready> {
        let password = random_password()?;
        let claim = json!({"code": claim_code, "name": OWNER, "password": password});
        let answer = self.portal.post("/api/v1/claim", &claim, &Credentials::None)?.expect(201)?;
        let session = session_of(&answer)?;
        let wish = json!({"name": "first key", "scopes": ["admin"]});
        let made = self.portal.post("/api/v1/keys", &wish, &session)?.expect(201)?.json()?;
        let key = made["key"].as_str().context("the new key was not shown")?.to_owned();
        let mut ready = self.unclaimed(claim_code);
        ready.claim_code = None;
        ready.api_key = Some(key);
        ready.owner = Some(Owner { name: OWNER.into(), password });
        Ok(ready)
    }

    /// Asks all models one question and returns the whole answer.
    pub fn ask(&self, ready: &Ready, prompt: &str) -> Result<Value> {
        let key = Credentials::Key(ready.api_key.clone().context("the box has no API key yet")?);
        let answer = self.portal.post("/query", &json!({"prompt": prompt}), &key)?.expect(200)?.json()?;
        let text = answer["summary"]["text"].as_str().unwrap_or_default();
        ensure!(!text.trim().is_empty(), "the summary is empty: {answer}");
        Ok(answer)
    }
}

/// The session cookie that an answer sets.
pub fn session_of(answer: &Answer) -> Result<Credentials> {
    let cookie = answer.header("set-cookie").context("no session cookie was set")?;
    let value = cookie
        .strip_prefix("booster_session=")
        .and_then(|rest| rest.split(';').next())
        .with_context(|| format!("not a session cookie: {cookie}"))?;
    Ok(Credentials::Session(value.to_owned()))
}

fn random_password() -> Result<String> {
    let mut bytes = [0_u8; 12];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(hex(&bytes))
}
