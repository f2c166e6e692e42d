//! Devices that answer from real sockets.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use md5::{Digest, Md5};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A certificate that nobody vouches for, of a name that the device does not have.
fn own_certificate() -> tokio_rustls::TlsAcceptor {
    let own = rcgen::generate_simple_self_signed(vec!["camera.example".into()]).expect("made");
    let key = own.signing_key.serialize_der().try_into().expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("fits");
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_taken_and_what_is_no_tls_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let acceptor = own_certificate();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut stream = acceptor.accept(stream).await.expect("TLS");
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).await.expect("asked") > 0);
        stream.write_all(ok("seen").as_bytes()).await.expect("heard");
        stream.shutdown().await.expect("heard");
    });
    let mut device = Device::new(&format!("https://{address}/")).expect("sound");
    assert_eq!(text(&mut device).await.expect("taken"), "seen");
    // Plain HTTP at the port, which answers what it does not understand.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut hello = [0; 1024];
        assert!(stream.read(&mut hello).await.expect("asked") > 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("heard");
    });
    let told = Device::new(&format!("https://{address}/")).expect("sound").get().await;
    assert!(matches!(told, Err(DeviceError::Strange(_))), "{:?}", told.err());
}

/// A device that answers each request as it is told, and what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let told = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n")
                    && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0)
                {}
                let head = String::from_utf8_lossy(&head).into_owned();
                let bytes = answer(&head);
                told.lock().expect("whole").push(head);
                // Who has heard enough leaves.
                let _ = stream.write_all(bytes.as_bytes()).await;
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("whole").clone()
    }

    /// An address of it with a login.
    fn url(&self, path: &str) -> String {
        format!("http://viewer:p%40ss@{}{path}", self.address)
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn onward(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

fn refused(challenges: &str) -> String {
    format!("HTTP/1.1 401 Unauthorized\r\n{challenges}Content-Length: 0\r\n\r\n")
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

async fn text(device: &mut Device) -> Result<String, DeviceError> {
    Ok(device.get().await?.text().await.expect("whole"))
}

async fn refusal(address: &str) -> String {
    match Device::new(address).expect("sound").get().await {
        Ok(response) => panic!("{}", response.status()),
        Err(error) => error.to_string(),
    }
}

fn md5(text: &str) -> String {
    Md5::digest(text).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("text");
        hex
    })
}

/// Whether this is RFC 2617's answer for the viewer.
fn is_digest(head: &str, nonce: &str) -> bool {
    let Some(answer) = header(head, "Authorization").and_then(|answer| answer.strip_prefix("Digest ")) else {
        return false;
    };
    let part = |name: &str| {
        let parts = answer.split(", ").filter_map(|part| part.split_once('='));
        parts.filter(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"')).next().unwrap_or("")
    };
    let uri = head.split(' ').nth(1).expect("a request");
    let (own, asked) = (md5("viewer:cam:p@ss"), md5(&format!("GET:{uri}")));
    let expected = md5(&format!("{own}:{nonce}:{}:{}:auth:{asked}", part("nc"), part("cnonce")));
    part("uri") == uri && part("response") == expected
}

#[tokio::test]
async fn a_login_goes_where_it_is_asked_for_as_the_device_wants_it() {
    let server = Server::start(|head| match header(head, "Authorization") {
        Some("Basic dmlld2VyOnBAc3M=") => ok("seen"),
        _ => refused("WWW-Authenticate: Basic realm=\"cam\"\r\n"),
    })
    .await;
    let mut device = Device::new(&server.url("/a?b=c")).expect("sound");
    assert_eq!(text(&mut device).await.expect("in"), "seen");
    assert_eq!(text(&mut device).await.expect("in"), "seen");
    let asked = server.asked();
    let with = asked.iter().map(|head| head.contains("Authorization"));
    assert!(with.eq([false, true, true]), "only once without: {asked:?}");
    assert!(asked.iter().all(|head| head.starts_with("GET /a?b=c HTTP/1.1\r\n")), "{asked:?}");
    let wrong = server.url("/").replace("p%40ss", "other");
    assert!(refusal(&wrong).await.contains("refuses the user or the password"));
    let without = format!("http://{}/", server.address);
    let told = refusal(&without).await;
    assert!(told.contains(&format!("{} wants a user", without.trim_end_matches('/'))), "{told}");
}

#[tokio::test]
async fn digest_is_taken_before_basic_and_a_nonce_that_ran_out_is_asked_anew() {
    let nonce = Arc::new(Mutex::new("first".to_owned()));
    let valid = Arc::clone(&nonce);
    let server = Server::start(move |head| {
        let nonce = valid.lock().expect("whole").clone();
        if is_digest(head, &nonce) {
            return ok("seen");
        }
        refused(&format!(
            "WWW-Authenticate: Basic realm=\"cam\"\r\n\
             WWW-Authenticate: Digest realm=\"cam\", qop=\"auth\", nonce=\"{nonce}\", stale=\"true\"\r\n"
        ))
    })
    .await;
    let mut device = Device::new(&server.url("/picture?channel=1")).expect("sound");
    for _ in 0..3 {
        assert_eq!(text(&mut device).await.expect("in"), "seen");
    }
    assert_eq!(server.asked().len(), 4);
    *nonce.lock().expect("whole") = "second".into();
    assert_eq!(text(&mut device).await.expect("in"), "seen");
    assert_eq!(server.asked().len(), 6);
    assert!(!server.asked().concat().contains("Basic"), "the password went in the clear");
    let ntlm = Server::start(|_| refused("WWW-Authenticate: NTLM\r\n")).await;
    assert!(refusal(&ntlm.url("/")).await.contains("choose Basic or Digest"));
}

#[tokio::test]
async fn a_redirect_stays_at_its_host_and_takes_the_login_to_its_port_only() {
    let basic = "WWW-Authenticate: Basic realm=\"cam\"\r\n";
    let other = Server::start(move |_| refused(basic)).await;
    let to = other.address.port();
    let server = Server::start(move |head| match head.split(' ').nth(1) {
        Some("/start") => onward("/middle"),
        Some("/middle") => onward("end?x=y"),
        Some("/round") => onward("/round"),
        Some("/file") => onward("file:///etc/passwd"),
        Some("/away") => onward("http://10.1.2.3:81/secret/path"),
        Some("/port") => onward(&format!("http://127.0.0.1:{to}/")),
        Some("/with-login") => onward("http://localhost.example:1/"),
        _ if head.contains("Authorization: Basic") => ok("seen"),
        _ => refused(basic),
    })
    .await;
    let mut device = Device::new(&server.url("/start")).expect("sound");
    assert_eq!(text(&mut device).await.expect("in"), "seen");
    assert!(server.asked().last().expect("asked").starts_with("GET /end?x=y "));
    let cases = [
        ("/round", "more than 4 times"),
        ("/file", "sends on to file:;"),
        ("/away", "sends on to http://10.1.2.3:81;"),
        ("/with-login", "sends on to http://localhost.example:1;"),
        ("/port", &format!("http://127.0.0.1:{to} wants a user")),
    ];
    for (path, word) in cases {
        let told = refusal(&server.url(path)).await;
        assert!(told.contains(word) && !told.contains("secret"), "{path}: {told}");
    }
    let asked = other.asked();
    assert!(asked.len() == 1 && !asked[0].contains("Authorization"), "{asked:?}");
}

#[test]
fn a_login_goes_from_plain_to_tls_and_never_back() {
    let cases = [
        ("http://cam/a", "http://cam/b", true),
        ("http://cam/a", "http://cam:80/b", true),
        ("http://cam/a", "https://cam/b", true),
        ("https://cam/a", "http://cam/b", false),
        ("http://cam:81/a", "https://cam/b", false),
        ("http://cam/a", "http://cam:81/b", false),
        ("http://cam/a", "http://cam.example/b", false),
    ];
    for (own, url, goes) in cases {
        let parsed = |text: &str| Url::parse(text).expect("sound");
        assert_eq!(is_place(&parsed(own), &parsed(url)), goes, "{own} to {url}");
    }
}

#[tokio::test]
async fn small_servers_are_understood_and_what_is_no_http_is_told_apart() {
    let odd = "HTTP/1.0 200\r\nServer : cam\r\nX-Odd: a\r\n b\r\nno header at all\r\n\r\nseen";
    let server = Server::start(move |head| match head.split(' ').nth(1) {
        Some("/odd") => odd.into(),
        Some("/icy") => "ICY 200 OK\r\n\r\n".into(),
        Some("/many") => format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(1000)),
        Some("/long") => format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(10_000_000)),
        Some("/gone") => String::new(),
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(),
    })
    .await;
    let mut device = Device::new(&server.url("/odd")).expect("sound");
    assert_eq!(text(&mut device).await.expect("understood"), "seen");
    for (path, word) in [
        ("/icy", "not understood"),
        ("/many", "not understood"),
        ("/long", "not understood"),
        ("/gone", "cannot be reached"),
        ("/nowhere", "it answers 404 Not Found; check the path"),
    ] {
        let told = refusal(&server.url(path)).await;
        assert!(told.contains(word), "{path}: {told}");
    }
    assert!(matches!(Device::new("http://[fe80::1%25eth0]/"), Err(DeviceError::Address(_))));
}
