//! The local authority and the server's certificate.
//!
//! The server's key is made once and kept; what is renewed is one certificate file. So a cut can
//! never leave a certificate beside a key that is not its own, but where the key itself was lost:
//! then the next run, before nginx starts, makes the certificate again.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Action, Context, authorities, current};
use crate::decide::Plan;
use crate::layout::Layout;
use crate::machine::read_small;
use crate::system::Access;
use crate::tls::{Key, Root, Server, handover};

/// The certificate in place, for the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// SHA-256 of the authority's certificate, in hexadecimal.
    pub ca_sha256: String,
    /// The name under which devices list the authority.
    pub ca_name: String,
    /// When the authority's certificate ends.
    pub ca_not_after: Timestamp,
    /// Whether devices refuse what the authority signs for names beyond the home.
    pub ca_limited: bool,
    /// The authority that takes over, where it is already to be trusted.
    pub next: Option<NextAuthority>,
    /// When the server's certificate ends.
    pub not_after: Timestamp,
    /// Names and addresses it is for.
    pub names: Vec<String>,
}

/// The authority that takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextAuthority {
    /// SHA-256 of its certificate, in hexadecimal.
    pub sha256: String,
    /// The name under which devices list it.
    pub name: String,
    /// When it takes over.
    pub from: Timestamp,
}

pub fn ensure(plan: &Plan, context: &Context) -> Result<()> {
    certify(&plan.network.tls_names, context)
}

/// Makes what is missing or no longer good for the names and for the addresses of now.
pub fn certify(names: &[String], context: &Context) -> Result<()> {
    let settled = authorities::ensure(names, context)?;
    let authority = settled.signer.root();
    let file = context.layout.state("tls/server.crt");
    let server_key = key(context)?;
    // Devices refuse a certificate as a whole that is also for a name beyond its authority's limits,
    // such as an address of the internet.
    let permitted = |name: &String| authority.permits(name);
    let own = names.iter().cloned().chain(["127.0.0.1".into(), "::1".into()]);
    let mut names: Vec<String> = own.filter(permitted).collect();
    let addresses = context.addresses.iter().map(ToString::to_string).filter(permitted);
    let addresses: Vec<String> = addresses.collect();
    let good = current(&file)
        .and_then(|text| Server::read(&String::from_utf8(text).ok()?).ok())
        .is_some_and(|server| server.serves(&names, &addresses, &server_key, authority, context.now));
    if !good {
        names.extend(addresses);
        let pem = Server::make(&names, &server_key, &settled.signer, context.now)?;
        context.add_pending(&[Action::ReloadNginx])?;
        context.replace(&file, pem.as_bytes(), Access::PUBLIC)?;
    }
    if context.pending.contains(Action::ReloadNginx) {
        // At boot nginx starts after this program, and systemd has nothing to do. Whether it runs is
        // for systemd to know: one that is just starting has read the old file.
        context.run(&["systemctl", "try-reload-or-restart", "--no-block", "nginx.service"])?;
        context.complete(Action::ReloadNginx)?;
    }
    Ok(())
}

/// The server's key, or a new one in its place.
fn key(context: &Context) -> Result<Key> {
    let path = context.layout.state("tls/server.key");
    let kept = current(&path).and_then(|text| Key::read(&String::from_utf8(text).ok()?));
    if let Some(key) = kept {
        return Ok(key);
    }
    let key = Key::make().context("cannot make a key")?;
    context.add_pending(&[Action::ReloadNginx])?;
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
    let mut roots = Root::read_all(&text(authorities::HANDED_OUT)?).into_iter();
    let (authority, next) = (roots.next()?, roots.next());
    let next = next.map(|next| NextAuthority {
        sha256: next.fingerprint(),
        name: next.name().to_owned(),
        from: handover(&authority, &next),
    });
    Some(Certificate {
        ca_sha256: authority.fingerprint(),
        ca_name: authority.name().to_owned(),
        ca_not_after: authority.not_after(),
        ca_limited: authority.is_limited(),
        next,
        not_after: server.not_after(),
        names: server.names().to_vec(),
    })
}
