//! What programs make of the authority: they trust the box under its names and addresses, and
//! refuse whatever else is signed with its key.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use actionbooster_secrets::Keyring;
use booster_provisioner::layout::Layout;
use booster_provisioner::{World, apply_in};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use support::failing::Failing;
use support::{files, machines, rules, write};
use tempfile::TempDir;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};

const OWN: [&str; 8] = [
    "kitchen-2.local",
    "kitchen-2",
    "actionbooster.local",
    "localhost",
    "127.0.0.1",
    "::1",
    "192.168.1.7",
    "fd00::7",
];
const FOREIGN: [&str; 7] = [
    "www.example.com",
    "local.example.com",
    "actionbooster.com",
    "8.8.8.8",
    "172.32.0.1",
    "2001:db8::7",
    "fec0::1",
];

/// A box's authority, its server's certificate, and room for more that is signed with the key.
struct Chain {
    root: TempDir,
    issuer: Issuer<'static, KeyPair>,
    key: KeyPair,
}

impl Chain {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "etc/group", "root:x:0:\n");
        write(root.path(), "var/lib/actionbooster/settings/settings.toml", "hostname = \"kitchen-2\"\n");
        let system = Failing::new(root.path());
        system.boot();
        let report = apply_in(&World {
            layout: &Layout::new(root.path()),
            system: &system,
            inventory: &machines::qemu_vm(),
            data: &rules(),
            now: Timestamp::now(),
            addresses: ["192.168.1.7", "fd00::7", "2001:db8::7"].map(|text| text.parse().unwrap()).to_vec(),
        });
        assert_eq!(report.unwrap().tls.unwrap().names, OWN);
        let tls = root.path().join("var/lib/actionbooster/tls");
        let (name, sealed) = files(&tls.join("authorities")).into_iter().next().unwrap();
        // Whoever has the disk of a box without a TPM, or the whole box, opens it.
        let keyring = Keyring::load(&Layout::new(root.path()).run("secrets/provisioner")).unwrap();
        let about = format!("authority {}", name.file_stem().unwrap().display());
        let stolen = keyring.open(&about, std::str::from_utf8(&sealed).unwrap().trim_end()).unwrap();
        let stolen = String::from_utf8(stolen).unwrap();
        let (secret, certificate) = stolen.split_at(stolen.find("-----BEGIN CERTIFICATE").unwrap());
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(secret).unwrap()).unwrap();
        Self { root, issuer, key: KeyPair::generate().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("var/lib/actionbooster/tls").join(name)
    }

    /// Whoever has the key signs what they like.
    fn sign(&self, parameters: &mut CertificateParams) -> PathBuf {
        parameters.use_authority_key_identifier_extension = true;
        let path = self.path("signed.crt");
        fs::write(&path, parameters.signed_by(&self.key, &self.issuer).unwrap().pem()).unwrap();
        path
    }

    fn sign_for(&self, names: &[&str]) -> PathBuf {
        let mut parameters =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&mut parameters)
    }

    /// OpenSSL, and with it curl, Python and most servers, as strict as it can be.
    fn openssl(&self, certificate: &Path, name: &str, more: &[&str]) -> Result<(), String> {
        let kind = if name.parse::<IpAddr>().is_ok() { "-verify_ip" } else { "-verify_hostname" };
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-purpose", "sslserver", kind, name, "-CAfile"]);
        said(&command.arg(self.path("ca.crt")).args(more).arg(certificate).output().unwrap())
    }

    /// rustls, as boosterctl uses it.
    fn rustls(&self, certificate: &Path, name: &str) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.crt")).unwrap()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let outcome = verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now());
        outcome.map(drop).map_err(|error| error.to_string())
    }

    /// NSS, as Firefox and the browsers of Linux distributions keep their trust.
    fn nss(&self, certificate: &Path) -> Result<(), String> {
        let store = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            said(&Command::new("certutil").arg("-d").arg(store.path()).args(arguments).output().unwrap())
        };
        run(&["-N", "--empty-password"]).unwrap();
        run(&["-A", "-n", "authority", "-t", "C,,", "-a", "-i", self.path("ca.crt").to_str().unwrap()])
            .unwrap();
        run(&["-A", "-n", "server", "-t", ",,", "-a", "-i", certificate.to_str().unwrap()]).unwrap();
        run(&["-V", "-n", "server", "-u", "V", "-e"])
    }
}

fn said(output: &Output) -> Result<(), String> {
    let words = [&output.stdout[..], &output.stderr[..]].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&words).into_owned()) }
}

#[test]
fn programs_trust_the_box_under_its_names_and_addresses() {
    let chain = Chain::new();
    let server = chain.path("server.crt");
    for name in OWN {
        assert_eq!(chain.openssl(&server, name, &[]), Ok(()), "{name}");
        assert_eq!(chain.rustls(&server, name), Ok(()), "{name}");
    }
    assert_eq!(chain.nss(&server), Ok(()));
}

#[test]
fn what_the_key_signs_for_the_rest_of_the_world_is_refused() {
    let chain = Chain::new();
    for name in FOREIGN {
        let signed = chain.sign_for(&[name]);
        let refused = chain.openssl(&signed, name, &[]).unwrap_err();
        assert!(refused.contains("permitted subtree violation"), "{name}: {refused}");
        let refused = chain.rustls(&signed, name).unwrap_err();
        assert!(refused.contains("NameConstraintViolation"), "{name}: {refused}");
        let refused = chain.nss(&signed).unwrap_err();
        assert!(refused.contains("invalid"), "{name}: {refused}");
    }
    // Hidden behind a name that is permitted.
    let signed = chain.sign_for(&["actionbooster.local", "www.example.com"]);
    assert!(chain.openssl(&signed, "actionbooster.local", &[]).is_err());
    assert!(chain.rustls(&signed, "actionbooster.local").is_err());
    assert!(chain.nss(&signed).is_err());
}

#[test]
fn the_key_makes_no_further_authority_and_signs_no_mail_and_no_programs() {
    let chain = Chain::new();
    let mut below = CertificateParams::default();
    below.distinguished_name.push(DnType::CommonName, "An authority below");
    below.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let below_key = KeyPair::generate().unwrap();
    let below = below.signed_by(&below_key, &chain.issuer).unwrap();
    let between = chain.path("between.crt");
    fs::write(&between, below.pem()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&below.pem(), &below_key).unwrap();
    let mut leaf = CertificateParams::new(vec!["actionbooster.local".into()]).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, "A server");
    leaf.use_authority_key_identifier_extension = true;
    let signed = chain.path("below.crt");
    fs::write(&signed, leaf.signed_by(&chain.key, &issuer).unwrap().pem()).unwrap();
    let through = ["-untrusted", between.to_str().unwrap()];
    let refused = chain.openssl(&signed, "actionbooster.local", &through).unwrap_err();
    assert!(refused.contains("path length constraint exceeded"), "{refused}");

    let mut mail = CertificateParams::default();
    mail.subject_alt_names = vec![SanType::Rfc822Name("owner@example.com".try_into().unwrap())];
    mail.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::EmailProtection, ExtendedKeyUsagePurpose::CodeSigning];
    let signed = chain.sign(&mut mail);
    for purpose in ["smimesign", "codesign"] {
        let mut command = Command::new("openssl");
        let command = command.args(["verify", "-purpose", purpose, "-CAfile"]).arg(chain.path("ca.crt"));
        assert!(said(&command.arg(&signed).output().unwrap()).is_err(), "{purpose}");
    }
}
