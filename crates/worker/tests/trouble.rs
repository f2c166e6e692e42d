//! Detectors that die, hang or cannot be computed, disks that are full, and connections with TLS.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use actionbooster_wire::ai::v1 as ai;
use actionbooster_wire::frames::Frames;
use nix::sys::signal::{Signal, kill};
use support::{Client, PROGRAM, Worker, frame, init, prepare};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::codec::Framed;

#[tokio::test]
async fn a_detector_that_dies_takes_its_sessions_along_and_nothing_else() {
    let worker = Worker::start("").await;
    let (mut client, _) = worker.session(ai::Init { record: true, ..init() }).await;
    client.look(frame(1)).await;
    let [detector] = worker.detectors()[..] else { panic!("{:?}", worker.detectors()) };
    kill(detector, Signal::SIGKILL).expect("signal");
    client.request(ai::request::Kind::Frame(frame(2))).await;
    let error = client.error().await;
    assert_eq!((error.code(), error.fatal), (ai::ErrorCode::ModelUnusable, true));
    assert!(error.message.contains("SIGKILL"), "{}", error.message);
    assert!(client.next().await.is_none(), "it hangs up");
    // Who comes again finds it loaded again, and the file of the session is whole.
    let (mut client, _) = worker.session(init()).await;
    assert!(!client.look(frame(3)).await.detections.is_empty());
    let folder = worker.root().join("var/lib/actionbooster/worker/sessions");
    let file = std::fs::read_dir(folder).expect("folder").next().expect("a file").expect("entry").path();
    let told: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file).expect("file")).expect("whole JSON");
    assert!(told["reason"].as_str().is_some_and(|reason| reason.contains("ended")), "{told}");
}

#[tokio::test]
async fn a_detector_that_hangs_is_killed_and_everybody_at_it_is_told() {
    let worker = Worker::start("frame_timeout_s = 1\n").await;
    let (mut first, _) = worker.session(init()).await;
    let (mut second, _) = worker.session(init()).await;
    first.look(frame(1)).await;
    let [detector] = worker.detectors()[..] else { panic!("{:?}", worker.detectors()) };
    kill(detector, Signal::SIGSTOP).expect("signal");
    for client in [&mut first, &mut second] {
        client.request(ai::request::Kind::Frame(frame(2))).await;
    }
    for client in [&mut first, &mut second] {
        let error = client.error().await;
        assert_eq!((error.code(), error.fatal), (ai::ErrorCode::ModelUnusable, true));
        assert!(error.message.contains("did not answer for 1 s"), "{}", error.message);
    }
    worker.until("it is gone", async || !worker.detectors().contains(&detector)).await;
    let (mut client, _) = worker.session(init()).await;
    assert!(!client.look(frame(3)).await.detections.is_empty());
    // HTTP asks anew each time and so sees no difference.
    let picture = std::fs::read(support::shapes().join("sample.jpg")).expect("part of the repository");
    let (status, body) = worker.http("POST /v1/detection HTTP/1.1", &picture).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn the_memory_of_an_idle_model_goes_back() {
    let worker = Worker::start("idle_timeout_s = 1\n").await;
    let before = worker.resident();
    let (mut client, _) = worker.session(init()).await;
    for number in 0..50 {
        client.look(frame(number)).await;
    }
    assert_eq!(worker.detectors().len(), 1);
    drop(client);
    worker.until("it is unloaded", async || worker.detectors().is_empty()).await;
    let more = worker.resident().saturating_sub(before);
    assert!(more < 10_000_000, "{more} bytes more than before");
}

#[tokio::test]
async fn without_the_library_health_and_clients_are_told_what_is_needed() {
    let mut command = Command::new(PROGRAM);
    command.env("ACTIONBOOSTER_ONNXRUNTIME", "/nowhere/libonnxruntime.so");
    expect_no_runtime(command, &["/nowhere/libonnxruntime.so is missing", "1.21 or newer"]).await;
}

#[tokio::test]
async fn with_a_library_that_is_too_old_they_are_told_its_version() {
    let folder = tempfile::tempdir().expect("folder");
    let (source, library) = (folder.path().join("old.c"), folder.path().join("libonnxruntime.so"));
    // What every version of the library begins with: one function, which gives two.
    let old = "
        struct base { const void *(*api)(unsigned); const char *(*version)(void); };
        static const void *api(unsigned version) { return version > 12 ? 0 : (const void *)1; }
        static const char *version(void) { return \"1.12.1\"; }
        const struct base *OrtGetApiBase(void) {
            static const struct base base = { api, version };
            return &base;
        }";
    std::fs::write(&source, old).expect("written");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    assert!(compiler.status().expect("a C compiler").success());
    let mut command = Command::new(PROGRAM);
    command.env("ACTIONBOOSTER_ONNXRUNTIME", &library);
    expect_no_runtime(command, &["1.12.1", "1.21 or newer"]).await;
}

async fn expect_no_runtime(command: Command, words: &[&str]) {
    let worker = Worker::start_as(prepare(), "", command).await;
    let (_, health) = worker.http("GET /health HTTP/1.1", b"").await;
    let mut client = worker.connect().await;
    client.request(ai::request::Kind::Init(init())).await;
    let error = client.error().await;
    assert_eq!((error.code(), error.fatal), (ai::ErrorCode::ModelUnusable, false));
    for word in words {
        assert!(health.contains(word), "{word}: {health}");
        assert!(error.message.contains(word), "{word}: {}", error.message);
    }
}

#[tokio::test]
async fn on_a_full_disk_detection_goes_on_and_the_session_is_not_recorded() {
    let root = prepare();
    let sessions = root.path().join("var/lib/actionbooster/worker/sessions");
    std::fs::create_dir_all(&sessions).expect("folder");
    let mut command = Command::new("unshare");
    // A small disk of the worker's own, which nobody else sees.
    command.args(["--mount", "sh", "-ec", "mount -t tmpfs -o size=64k tmpfs \"$1\"; exec \"$0\"", PROGRAM]);
    command.arg(&sessions);
    let worker = Worker::start_as(root, "", command).await;
    let (mut client, _) = worker.session(ai::Init { record: true, ..init() }).await;
    for number in 0..200 {
        assert!(!client.look(frame(number)).await.detections.is_empty(), "frame {number}");
    }
    let (_, health) = worker.http("GET /health HTTP/1.1", b"").await;
    assert!(health.contains("sessions are not recorded: the disk is full"), "{health}");
    client.request(ai::request::Kind::End(ai::End { reason: "enough".into() })).await;
    assert!(matches!(client.response().await, ai::response::Kind::Ready(_)));
    client.request(ai::request::Kind::Init(ai::Init { record: true, ..init() })).await;
    assert!(matches!(client.response().await, ai::response::Kind::InitOk(_)), "the next one begins");
    let inside = format!("/proc/{}/root{}", worker.pid(), sessions.display());
    for entry in std::fs::read_dir(inside).expect("folder").filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read(entry.path()).expect("file");
            serde_json::from_slice::<serde_json::Value>(&text).expect("whole JSON");
        }
    }
}

#[tokio::test]
async fn with_a_certificate_only_tls_is_spoken() {
    let root = prepare();
    let made = rcgen::generate_simple_self_signed(["box.test".to_owned()]).expect("certificate");
    let (certificate, key) = (root.path().join("a.crt"), root.path().join("a.key"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let config =
        format!("tls_certificate = \"{}\"\ntls_key = \"{}\"\n", certificate.display(), key.display());
    let worker = Worker::start_as(root, &config, Command::new(PROGRAM)).await;
    let mut plain = worker.connect().await;
    plain.request(ai::request::Kind::Init(init())).await;
    assert!(plain.next().await.is_none(), "a plain client gets no answer");
    let connect = |trusted: CertificateDer<'static>| {
        let mut roots = RootCertStore::empty();
        roots.add(trusted).expect("certificate");
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("box.test").expect("name");
        async move {
            let stream = TcpStream::connect(worker.address).await.expect("connected");
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        }
    };
    let stream = connect(made.cert.der().clone()).await.expect("TLS");
    let mut client = Client(Framed::new(stream, Frames::new(u32::MAX)));
    client.open(init()).await;
    assert!(!client.look(frame(1)).await.detections.is_empty());
}

#[tokio::test]
async fn pictures_of_several_clients_go_together_and_stay_apart() {
    let root = prepare();
    add_colours(root.path());
    let worker = Worker::start_as(root, "", Command::new(PROGRAM)).await;
    let looking = (0..8_u8).map(async |number| {
        let wanted = ai::Init { model: "colours".into(), ..init() };
        let (mut client, opened) = worker.session(wanted).await;
        assert_eq!(opened.labels, ["colour"]);
        let colour = [20 * (number + 1), 10 * (number + 1), 0];
        let mut together = 0;
        for frame_id in 0..60 {
            let frame = ai::Frame {
                frame_id,
                format: ai::PixelFormat::Rgb.into(),
                width: 320,
                height: 320,
                data: colour.repeat(320 * 320).into(),
                ..ai::Frame::default()
            };
            let result = client.look(frame).await;
            let [found] = &result.detections[..] else { panic!("{result:?}") };
            let own = found.r#box.expect("a box");
            assert!((own.width - f32::from(colour[0])).abs() < 0.1, "{number}: {own:?}");
            assert!((own.height - f32::from(colour[1])).abs() < 0.1, "{number}: {own:?}");
            together = together.max(result.timings.expect("told").batch);
        }
        together
    });
    let together = futures::future::join_all(looking).await;
    assert!(together.iter().any(|together| *together > 1), "{together:?}");
    assert!(together.iter().all(|together| *together <= 8), "{together:?}");
}

/// Adds a detector that takes any number of pictures, with its class named in a file beside it.
fn add_colours(root: &Path) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/colours/colours.onnx");
    let lines = "[detector]\n\
                 preprocessing = { bgr = false, mean = [0, 0, 0], std = [1, 1, 1], padding = 0, centred = false }\n";
    support::add_model(root, "colours", &model, lines);
    let folder = root.join("var/lib/actionbooster/models/colours");
    std::fs::write(folder.join("labels.txt"), "colour\n").expect("written");
}
