//! The program against a box on the network, over TLS.

use std::sync::Arc;

use crate::support::{FakeBox, JSON, Run, serve};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Serves the fake's answers over TLS; gives the port and writes the authority's certificate.
fn serve_tls(fake: &FakeBox) -> u16 {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(fake.root.path().join("ca.crt"), authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = fake.runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sent, answers) = (Arc::clone(&fake.sent), Arc::clone(&fake.answers));
    fake.runtime().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust us hangs up here.
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve(stream, Arc::clone(&sent), Arc::clone(&answers)));
            }
        }
    });
    port
}

#[test]
fn a_box_on_the_network_is_asked_with_a_key_when_its_authority_is_trusted() {
    let fake = FakeBox::silent();
    fake.answer(&[(200, JSON, r#"{"keys":[]}"#)]);
    let port = serve_tls(&fake);
    let url = format!("https://localhost:{port}");
    let mut command = fake.command(&["keys", "list", "--url", &url]);
    let distrust = Run::of(command.env("BOOSTER_API_KEY", "ab_key").output().unwrap());
    assert_eq!(distrust.code, 3, "{distrust:?}");
    assert!(distrust.stderr.contains("--ca"), "{distrust:?}");
    assert!(fake.sent().is_empty(), "the key went to a box that is not trusted");
    let ca = fake.root.path().join("ca.crt");
    let trust = Run::of(command.arg("--ca").arg(ca).output().unwrap());
    assert_eq!(trust.code, 0, "{trust:?}");
    assert_eq!(fake.sent()[0].key.as_deref(), Some("Bearer ab_key"));
}

#[test]
fn what_only_the_box_itself_can_do_is_refused_from_elsewhere() {
    let fake = FakeBox::silent();
    for arguments in [&["hardware", "--scan"][..], &["config", "check"]] {
        let run = Run::of(fake.command(arguments).args(["--url", "http://127.0.0.1:9"]).output().unwrap());
        assert_eq!(run.code, 2, "{run:?}");
    }
    let run = fake.run(&["keys", "list", "--url", "https://box", "--ca", "/dev/null"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("no certificate authority"), "{run:?}");
}
