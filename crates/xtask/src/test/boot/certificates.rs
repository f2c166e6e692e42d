//! The authority: what its key may sign, how its fingerprint is compared, and that a clock that
//! jumps leaves no certificate behind that is not valid.

use std::time::{Duration, Instant};

use actionbooster_secrets::Keyring;
use anyhow::{Context, Result, ensure};

use super::{Session, contains, equal, until};
use crate::test::Tally;

/// How long after a jump of the clock a good certificate may be missing, in an emulated machine.
const JUMP_LIMIT: Duration = Duration::from_secs(60);
/// A port of this host for a server that shows a certificate of the thief's.
const THIEF_PORT: &str = "20599";
/// What a thief of the whole box gets: the sealed authority, and the keys that the box opens it with.
const SEALED: &str = "sudo sh -c 'cat /var/lib/actionbooster/tls/authorities/*.pem'";
const KEYS: &str = "sudo cat /run/actionbooster/secrets/provisioner";
/// What the sealed text belongs to.
const BELONGS_TO: &str = "sudo sh -c 'cd /var/lib/actionbooster/tls/authorities; for f in *.pem; do echo authority ${f%.pem}; done'";
/// What the thief signs: the key and the authority are in the same file.
const SIGN: &str = "set -e; cd \"$1\"
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout thief.key -subj /CN=thief -out thief.csr
openssl x509 -req -in thief.csr -CA stolen.pem -CAkey stolen.pem -days 20 -out thief.crt -extfile /dev/stdin <<END
basicConstraints=critical,CA:FALSE
extendedKeyUsage=serverAuth
subjectAltName=DNS:$2
END";
/// systemd starts no earlier than this file says; it may have been written in the time that never was.
const FORGET: &str = "f=/var/lib/systemd/timesync/clock; if sudo test -e $f; then sudo touch $f; fi";
/// Whether curl believes a server with that certificate; its exit status is told.
const VISIT: &str = "cd \"$1\"
openssl s_server -quiet -www -accept \"$3\" -cert thief.crt -key thief.key >s_server.log 2>&1 &
server=$!
curl -s -o /dev/null --retry 30 --retry-connrefused --retry-delay 1 \
  --cacert ca.crt --resolve \"$2:$3:127.0.0.1\" \"https://$2:$3/\"
echo $?
kill $server";

pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    tally.check("the console shows the fingerprint of the authority that is handed out", console(session));
    tally.check("OpenSSL, as strict as it can be, believes the box", served(session, None));
    tally.check(
        "a clock put forward by two years gets a valid certificate at once",
        jump(session, "+2 years"),
    );
    tally.check("a clock put back gets one too", jump(session, "-2 years"));
    session.shell(FORGET).map(drop)
}

/// Whoever has the whole box has the key.
#[expect(clippy::unnecessary_wraps, reason = "every section may break off")]
pub fn theft(session: &mut Session, tally: &mut Tally) -> Result<()> {
    tally.check("a site that the box's stolen key vouches for is refused", thief(session));
    Ok(())
}

fn console(session: &Session) -> Result<()> {
    let told = openssl(session, &["x509", "-noout", "-fingerprint", "-sha256", "-in", "ca.crt"])?;
    let print = told.trim().rsplit('=').next().context("no fingerprint")?;
    ensure!(print.len() == 95, "a fingerprint is not {print}");
    let console = session.vm.console();
    contains(&console, &print[..47])?;
    contains(&console, &print[48..])
}

/// The certificate that nginx shows now is good for the box's names, at this time or another.
fn served(session: &Session, at: Option<&str>) -> Result<()> {
    let address = format!("127.0.0.1:{}", session.vm.forwards().web.https);
    let fetch =
        "openssl s_client -connect \"$2\" </dev/null 2>/dev/null | openssl x509 -out \"$1/served.crt\"";
    sh(session, fetch, &[&address])?;
    let own = format!("-verify_hostname {}.local", session.shell("hostname")?.trim());
    for name in [own.as_str(), "-verify_hostname localhost", "-verify_ip 127.0.0.1"] {
        let mut arguments = vec!["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.crt"];
        arguments.extend(name.split(' '));
        arguments.extend(at.iter().flat_map(|at| ["-attime", at]));
        arguments.push("served.crt");
        contains(&openssl(session, &arguments)?, "OK").with_context(|| name.to_owned())?;
    }
    Ok(())
}

fn thief(session: &Session) -> Result<()> {
    let keyring = Keyring::parse(&session.shell(KEYS)?).context("no keys")?;
    let (sealed, belongs_to) = (session.shell(SEALED)?, session.shell(BELONGS_TO)?);
    ensure!(!sealed.contains("PRIVATE"), "the key of the authority lies open on the disk");
    std::fs::write(session.vm.folder().join("stolen.pem"), keyring.open(belongs_to.trim(), sealed.trim())?)?;
    // 60: the certificate is not believed. The first shows that nothing else is the reason.
    for (name, status) in [("other.local", "0"), ("www.example.com", "60"), ("actionbooster.example", "60")] {
        sh(session, SIGN, &[name])?;
        equal(&sh(session, VISIT, &[name, THIEF_PORT])?, status).with_context(|| name.to_owned())?;
        let verdict = openssl(session, &["verify", "-CAfile", "ca.crt", "thief.crt"]);
        ensure!(verdict.is_ok() == (status == "0"), "OpenSSL about {name}: {verdict:?}");
    }
    Ok(())
}

fn jump(session: &mut Session, shift: &str) -> Result<()> {
    let before = session.shell("sha256sum < /var/lib/actionbooster/tls/ca.crt")?;
    session.shell(&format!("sudo date -s '{shift}'"))?;
    let started = Instant::now();
    until(session, |session| {
        let now = session.shell("date +%s")?;
        served(session, Some(now.trim()))
    })?;
    ensure!(started.elapsed() < JUMP_LIMIT, "that took {:?}", started.elapsed());
    equal(&session.shell("sha256sum < /var/lib/actionbooster/tls/ca.crt")?, before.trim())
        .context("the authority is another one")
}

fn openssl(session: &Session, arguments: &[&str]) -> Result<String> {
    sh(session, "cd \"$1\"; shift; exec openssl \"$@\" 2>&1", arguments)
}

/// What a script prints in the builder; its first argument is the machine's folder.
fn sh(session: &Session, script: &str, arguments: &[&str]) -> Result<String> {
    let folder = session.builder.inside(session.vm.folder())?.display().to_string();
    let mut command = vec!["sh", "-c", script, "sh", &folder];
    command.extend(arguments);
    session.builder.output(&command)
}
