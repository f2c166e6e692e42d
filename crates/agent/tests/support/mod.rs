//! A real agent with real runners below a root of its own, and a client of its socket.

pub mod cameras;
pub mod events;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actionbooster_chassis::auth::{SCHEMA, token_hash};
pub use events::Events;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A key with the scope `infer`.
pub const KEY: &str = "ab_0123456789012345678901234567890123456789";
/// A key with the scope `read` only.
pub const READING_KEY: &str = "ab_9876543210987654321098765432109876543210";
/// A key that may change the store.
pub const ADMIN_KEY: &str = "ab_admin_admin_admin_admin_admin_adm";
/// A key with the scopes `infer` and `interactive`.
pub const URGENT_KEY: &str = "ab_urgent_urgent_urgent_urgent_urgent_u";
/// What an agent logs where nobody looks for more.
const LOGGED: &str = "warn,llama-cpp-2=error";
/// Long enough for a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);
/// The model never ends its text by itself, so this many tokens keep it busy until somebody stops it.
pub const CONTEXT: u32 = 16_384;

/// A running agent. Ends with its runners when dropped.
pub struct Agent {
    root: tempfile::TempDir,
    process: Child,
}

/// The built-in guide, changed so that it never ends its text by itself: what ended an answer is an
/// ordinary word now.
pub fn endless_model() -> Vec<u8> {
    const END: (&[u8], &[u8]) = (b"<|im_end|>", b"<|im_and|>");
    const PADDING: u32 = 2;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/guide/guide.gguf");
    let mut bytes = std::fs::read(path).expect("the guide is part of the repository");
    let find = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).position(|part| part == wanted);
    while let Some(at) = find(&bytes, END.0) {
        bytes[at..at + END.0.len()].copy_from_slice(END.1);
    }
    for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
        // The key is followed by the number of its type.
        let value = find(&bytes, key.as_bytes()).expect(key) + key.len() + 4;
        bytes[value..value + 4].copy_from_slice(&PADDING.to_le_bytes());
    }
    let key = b"tokenizer.ggml.token_type";
    // Type, type of the elements, their count; then the second element, of the token with number 1.
    let kind = find(&bytes, key).expect("token types") + key.len() + 4 + 4 + 8 + 4;
    bytes[kind..kind + 4].copy_from_slice(&1_i32.to_le_bytes());
    bytes
}

/// Where the runner and the engine are.
fn ingredients() -> (PathBuf, PathBuf) {
    let program = Path::new(env!("CARGO_BIN_EXE_booster-agent"));
    let release = program.parent().expect("target folder");
    let runner = release.join("booster-runner");
    assert!(
        runner.exists(),
        "run `cargo build --release -p booster-runner` first: {} is missing",
        runner.display()
    );
    let build = std::fs::read_dir(release.join("build")).expect("build folder");
    let engine = build
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("llama-cpp-sys-2-"))
        .map(|entry| entry.path().join("out"))
        .filter(|out| out.join("backends").is_dir())
        .max_by_key(|out| out.metadata().and_then(|data| data.modified()).ok());
    let engine = engine.expect("run `cargo build --release -p booster-runner` first: llama.cpp is missing");
    (program.into(), engine)
}

/// Mounts a disk for the cameras that only this program sees, and becomes the program.
fn with_small_disk(program: &Path, root: &Path, bytes: u64) -> Command {
    let folder = root.join("var/lib/actionbooster/cameras");
    std::fs::create_dir_all(&folder).expect("folder");
    let script = "mount -t tmpfs -o \"size=$1\" tmpfs \"$2\" && exec \"$3\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    command.arg(bytes.to_string()).arg(folder).arg(program);
    command
}

impl Agent {
    /// Starts an agent whose store holds the same small model under each of these names.
    pub async fn start(models: &[&str], config: &str) -> Self {
        Self::start_with(models, config, LOGGED, [Stdio::inherit(), Stdio::inherit()], None).await
    }

    /// Starts an agent whose cameras have a disk of their own with this many bytes. Only root can.
    pub async fn start_with_small_disk(config: &str, bytes: u64) -> Self {
        Self::start_with(&["one"], config, LOGGED, [Stdio::inherit(), Stdio::inherit()], Some(bytes)).await
    }

    /// Where the files of its cameras are for this test, also those on a disk of their own.
    pub fn cameras(&self) -> PathBuf {
        let seen = Path::new("/proc").join(self.process.id().to_string()).join("root");
        let folder = self.root().join("var/lib/actionbooster/cameras");
        seen.join(folder.strip_prefix("/").expect("absolute"))
    }

    /// Starts an agent that writes everything that it can tell into this file.
    pub async fn start_talkative(models: &[&str], config: &str, log: &std::fs::File) -> Self {
        let copy = || Stdio::from(log.try_clone().expect("log"));
        Self::start_with(models, config, "debug", [copy(), copy()], None).await
    }

    async fn start_with(
        models: &[&str],
        config: &str,
        told: &str,
        log: [Stdio; 2],
        disk: Option<u64>,
    ) -> Self {
        let (program, engine) = ingredients();
        let model = endless_model();
        let root = tempfile::tempdir().expect("folder");
        for id in models {
            add_model(root.path(), id, &model);
        }
        write(&root.path().join("etc/actionbooster/agent.toml"), config);
        make_keys(&root.path().join("var/lib/actionbooster/auth/auth.db"));
        let catalog = concat!(env!("CARGO_MANIFEST_DIR"), "/../../provisioning/models.toml");
        let vendor = root.path().join("usr/share/actionbooster");
        std::fs::create_dir_all(&vendor).expect("folder");
        std::fs::copy(catalog, vendor.join("models.toml")).expect("catalog");
        add_workflows(&root.path().join("usr/share/actionbooster/workflows"));
        let [stdout, stderr] = log;
        let mut command = match disk {
            None => Command::new(program),
            Some(bytes) => with_small_disk(&program, root.path(), bytes),
        };
        let process = command
            .env("ACTIONBOOSTER_ROOT", root.path())
            .env("ACTIONBOOSTER_RUNNER__THREADS", "1")
            .env("ACTIONBOOSTER_BACKENDS", engine.join("backends"))
            .env("LD_LIBRARY_PATH", engine.join("lib"))
            .env("RUST_LOG", told)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("agent");
        let agent = Self { root, process };
        agent.until("the agent listens", async || UnixStream::connect(agent.socket()).await.is_ok()).await;
        agent
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where the agent listens.
    pub fn socket(&self) -> PathBuf {
        self.root.path().join("run/actionbooster/agent.sock")
    }

    /// Everything that the agent sees as the machine's files.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The folder of a model in the store.
    pub fn model_folder(&self, id: &str) -> PathBuf {
        self.root.path().join("var/lib/actionbooster/models").join(id)
    }

    /// Sends a request with a key.
    pub async fn send(&self, method: &str, path: &str, body: &str) -> Response<Incoming> {
        self.send_as(Some(KEY), method, path, body.as_bytes()).await
    }

    /// Sends a request as it would come through nginx.
    pub async fn send_as(
        &self,
        key: Option<&str>,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Response<Incoming> {
        self.send_with(&[], key, method, path, body).await
    }

    /// The same with more headers.
    pub async fn send_with(
        &self,
        headers: &[(&str, &str)],
        key: Option<&str>,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Response<Incoming> {
        let stream = UnixStream::connect(self.socket()).await.expect("socket");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "box")
            .header("content-type", "application/json")
            // Without it root on the socket would be trusted, and tests run as root.
            .header("x-forwarded-for", "192.0.2.1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).expect("request");
        tokio::time::timeout(LIMIT, sender.send_request(request)).await.expect("in time").expect("answer")
    }

    /// Asks as another program of this box, without a key.
    pub async fn ask_on_the_box(&self, path: &str) -> Response<Incoming> {
        let stream = UnixStream::connect(self.socket()).await.expect("socket");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "box").body(Full::new(Bytes::new()));
        let asked = sender.send_request(request.expect("request"));
        tokio::time::timeout(LIMIT, asked).await.expect("in time").expect("answer")
    }

    /// Announces a body of so many bytes without sending it, and reads the whole answer.
    pub async fn announce(&self, path: &str, bytes: usize) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.socket()).await.expect("socket");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: box\r\nauthorization: Bearer {KEY}\r\ncontent-length: {bytes}\r\n\
             connection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut answer = String::new();
        let read = tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer));
        read.await.expect("in time").expect("answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("status");
        (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
    }

    /// The body of an answer as text.
    pub async fn text(&self, method: &str, path: &str, body: &str) -> String {
        let body = self.send(method, path, body).await.into_body().collect().await.expect("body");
        String::from_utf8(body.to_bytes().to_vec()).expect("text")
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        parsed(self.send(method, path, body).await).await
    }

    /// Sends a request with the key that may change the store, and reads the whole answer.
    pub async fn manage(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        parsed(self.send_as(Some(ADMIN_KEY), method, path, body.as_bytes()).await).await
    }

    /// What a counter of `/metrics` stands at, summed over labels that contain `label`.
    pub async fn counter(&self, name: &str, label: &str) -> f64 {
        let response = self.send_as(Some(READING_KEY), "GET", "/metrics", b"").await;
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let ours = |line: &&str| line.starts_with(name) && line.contains(label);
        text.lines().filter(ours).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The state of a model under `/api/v1/models`.
    pub async fn state(&self, id: &str) -> String {
        let (status, body) =
            parsed(self.send_as(Some(READING_KEY), "GET", "/api/v1/models", b"").await).await;
        assert_eq!(status, 200, "{body}");
        let models = body["models"].as_array().expect("models");
        let model = models.iter().find(|model| model["id"] == id).expect("the model");
        model["state"].as_str().expect("state").to_owned()
    }

    /// The process of a model's runner.
    pub fn runner(&self, id: &str) -> Option<i32> {
        let socket = self.root.path().join(format!("run/actionbooster/runners/{id}.sock"));
        let socket = socket.to_str().expect("path").as_bytes().to_vec();
        let processes = std::fs::read_dir("/proc").expect("proc");
        processes.filter_map(Result::ok).find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            line.split(|byte| *byte == 0).any(|argument| argument == socket).then_some(pid)
        })
    }

    /// Waits until something holds. For what can only be seen by looking.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let started = Instant::now();
        while !holds().await {
            assert!(started.elapsed() < LIMIT, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Tells the agent to end and waits for it.
    pub async fn end(mut self) -> (std::process::ExitStatus, tempfile::TempDir) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).expect("pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signal");
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("status") {
                let root = std::mem::replace(&mut self.root, tempfile::tempdir().expect("folder"));
                return (status, root);
            }
            assert!(started.elapsed() < LIMIT, "the agent does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Agent {
    /// Kills the agent on the spot; its files stay while the returned folder lives.
    pub fn kill(mut self) -> tempfile::TempDir {
        self.process.kill().expect("signal");
        self.process.wait().expect("end");
        std::mem::replace(&mut self.root, tempfile::tempdir().expect("folder"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Its children are told by the kernel when it dies.
        let killed = self.process.kill().and_then(|()| self.process.wait().map(drop));
        if let Err(error) = killed {
            eprintln!("the agent was already gone: {error}");
        }
    }
}

/// Adds the model `id` to the store below `root`.
pub fn add_model(root: &Path, id: &str, content: &[u8]) {
    let folder = root.join("var/lib/actionbooster/models").join(id);
    let digest: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    let size = content.len();
    let manifest = format!(
        "id = {id:?}\nname = \"Stories\"\nfile = \"m.gguf\"\nsha256 = {digest:?}\nsize_bytes = {size}\n\
         licence = \"MIT\"\nroles = [\"general\"]\ncontext_tokens = {CONTEXT}\n[sampling]\ntemperature = 0.0\n"
    );
    write(&folder.join("manifest.toml"), &manifest);
    std::fs::write(folder.join("m.gguf"), content).expect("model");
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
    let mut file = std::fs::File::create(path).expect("file");
    file.write_all(text.as_bytes()).expect("content");
    file.set_permissions(std::fs::Permissions::from_mode(0o644)).expect("mode");
}

/// The workflows of the image.
fn add_workflows(folder: &Path) {
    std::fs::create_dir_all(folder).expect("folder");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../provisioning/workflows");
    for entry in std::fs::read_dir(shipped).expect("workflows").filter_map(Result::ok) {
        std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
    }
}

fn make_keys(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
    let database = rusqlite::Connection::open(path).expect("database");
    database.execute_batch(SCHEMA).expect("schema");
    let keys = [
        ("k1", "infer", KEY),
        ("k2", "read", READING_KEY),
        ("k3", "admin", ADMIN_KEY),
        ("k4", "infer interactive", URGENT_KEY),
    ];
    for (id, scopes, key) in keys {
        let row = rusqlite::params![id, id, scopes, token_hash(key)];
        database.execute("INSERT INTO api_key VALUES (?1, ?2, ?3, ?4, 'ab_…', 0)", row).expect("key");
    }
}

/// Status and JSON body.
pub async fn parsed(response: Response<Incoming>) -> (u16, Value) {
    let status = response.status().as_u16();
    let read = tokio::time::timeout(LIMIT, response.into_body().collect());
    let bytes = read.await.expect("in time").expect("body").to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    if text.is_empty() {
        return (status, Value::Null);
    }
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}
