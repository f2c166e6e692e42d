//! The local authority and the server's certificate.
//!
//! A key is made once and kept; what is renewed is one certificate file. So a cut can never leave
//! a certificate beside a key that is not its own, but where the key itself was lost: then the
//! next run, before nginx starts, makes the certificate again.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Context, Debt, current};
use crate::decide::Plan;
use crate::layout::Layout;
use crate::machine::read_small;
use crate::system::Access;
use crate::tls::{Authority, Key, Server, fingerprint};

/// nginx writes its process id here before it is said to have started.
const NGINX_RUNS: &str = "run/nginx.pid";

/// The certificate in place, for the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// SHA-256 of the authority's certificate, in hexadecimal.
    pub ca_sha256: String,
    /// When the server's certificate ends.
    pub not_after: Timestamp,
    /// Names and addresses it is for.
    pub names: Vec<String>,
}

pub fn ensure(plan: &Plan, context: &Context) -> Result<()> {
    certify(&plan.network.tls_names, context)
}

/// Makes what is missing or no longer good for the names and for the addresses of now.
pub fn certify(names: &[String], context: &Context) -> Result<()> {
    let file = |name: &str| context.layout.state("tls").join(name);
    let text = |name: &str| current(&file(name)).and_then(|text| String::from_utf8(text).ok());

    let authority_key = key(context, "ca.key")?;
    let kept = text("ca.crt").and_then(|pem| Authority::read(&pem, &authority_key, context.now));
    let authority = if let Some(kept) = kept {
        kept
    } else {
        let authority = Authority::make(&authority_key, context.now)?;
        context.replace(&file("ca.crt"), authority.pem().as_bytes(), Access::PUBLIC)?;
        authority
    };
    let server_key = key(context, "server.key")?;
    let mut names = names.to_vec();
    names.extend(["127.0.0.1".into(), "::1".into()]);
    let addresses: Vec<String> = context.addresses.iter().map(ToString::to_string).collect();
    let good = text("server.crt")
        .and_then(|pem| Server::read(&pem).ok())
        .is_some_and(|server| server.serves(&names, &addresses, &server_key, &authority, context.now));
    if !good {
        names.extend(addresses);
        let pem = Server::make(&names, &server_key, &authority, &authority_key, context.now)?;
        context.owe(&[Debt::ReloadNginx])?;
        context.replace(&file("server.crt"), pem.as_bytes(), Access::PUBLIC)?;
    }
    if context.debts.owes(Debt::ReloadNginx) {
        // At boot nginx starts after this program and needs no telling.
        if context.layout.at(NGINX_RUNS).exists() {
            context.run(&["systemctl", "try-reload-or-restart", "--no-block", "nginx.service"])?;
        }
        context.paid(Debt::ReloadNginx)?;
    }
    Ok(())
}

/// The key in the file, or a new one in its place.
fn key(context: &Context, name: &str) -> Result<Key> {
    let path = context.layout.state("tls").join(name);
    let kept = current(&path).and_then(|text| Key::read(&String::from_utf8(text).ok()?));
    if let Some(key) = kept {
        return Ok(key);
    }
    let key = Key::make().context("cannot make a key")?;
    if name == "server.key" {
        context.owe(&[Debt::ReloadNginx])?;
    }
    context.replace(&path, key.pem().as_bytes(), Access::SECRET)?;
    Ok(key)
}

/// Reads the certificates in place.
pub fn describe(layout: &Layout) -> Option<Certificate> {
    let text = |name: &str| {
        let text = read_small(&layout.state("tls").join(name)).ok().flatten()?;
        String::from_utf8(text).ok()
    };
    let server = Server::read(&text("server.crt")?).ok()?;
    Some(Certificate {
        ca_sha256: fingerprint(&text("ca.crt")?)?,
        not_after: server.not_after(),
        names: server.names().to_vec(),
    })
}
