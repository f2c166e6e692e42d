//! A real worker below a root of its own, and a client of its port.

#[path = "../../../../tests/ports.rs"]
mod ports;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actionbooster_chassis::auth::{SCHEMA, token_hash};
use actionbooster_wire::ai::v1 as ai;
use actionbooster_wire::frames::Frames;
use futures::{SinkExt, StreamExt};
use nix::unistd::Pid;
use ports::port;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

/// The worker.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_booster-worker");
/// Long enough for a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);
/// A key with the scope `infer`.
pub const KEY: &str = "ab_0123456789012345678901234567890123456789";

/// The repository's own detector and a picture of 160x160 pixels with three shapes.
pub fn shapes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/shapes")
}

/// The picture of [`shapes`] as RGB.
pub fn picture() -> Vec<u8> {
    std::fs::read(shapes().join("sample.rgb")).expect("the picture is part of the repository")
}

/// A root whose store holds the shapes detector.
pub fn prepare() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("folder");
    let folder = root.path().join("var/lib/actionbooster/models/shapes");
    std::fs::create_dir_all(&folder).expect("folder");
    for file in ["manifest.toml", "shapes.onnx"] {
        std::fs::copy(shapes().join(file), folder.join(file)).expect("copied");
    }
    make_key(&root.path().join("var/lib/actionbooster/auth/auth.db"));
    root
}

/// Adds a detector to the store at a root, with these lines in its manifest.
pub fn add_model(root: &Path, id: &str, file: &Path, lines: &str) {
    let bytes = std::fs::read(file).expect("part of the repository");
    let folder = root.join("var/lib/actionbooster/models").join(id);
    std::fs::create_dir_all(&folder).expect("folder");
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = format!(
        "id = \"{id}\"\nname = \"{id}\"\nfile = \"{id}.onnx\"\nsha256 = \"{sha256}\"\n\
         size_bytes = {}\nlicence = \"MIT\"\n{lines}",
        bytes.len()
    );
    std::fs::write(folder.join(format!("{id}.onnx")), bytes).expect("written");
    std::fs::write(folder.join("manifest.toml"), manifest).expect("written");
}

/// A running worker. Ends when dropped.
pub struct Worker {
    root: tempfile::TempDir,
    process: Child,
    pub address: SocketAddr,
}

impl Worker {
    /// Starts a worker whose store holds the shapes detector.
    pub async fn start(config: &str) -> Self {
        Self::start_at(prepare(), config).await
    }

    async fn start_at(root: tempfile::TempDir, config: &str) -> Self {
        Self::start_as(root, config, Command::new(PROGRAM)).await
    }

    /// Starts a worker at a prepared root by a command that ends in [`PROGRAM`].
    pub async fn start_as(root: tempfile::TempDir, config: &str, mut command: Command) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port()));
        let etc = root.path().join("etc/actionbooster");
        std::fs::create_dir_all(&etc).expect("folder");
        let text = if config.contains("listen") {
            config.replace("PORT", &address.port().to_string())
        } else {
            format!("listen = \"{address}\"\n{config}")
        };
        std::fs::write(etc.join("worker.toml"), text).expect("config");
        let process = command
            .env("ACTIONBOOSTER_ROOT", root.path())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .expect("worker");
        let worker = Self { root, process, address };
        worker.until("the worker listens", async || TcpStream::connect(worker.address).await.is_ok()).await;
        worker
    }

    /// Everything that the worker sees as the machine's files.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A client of its port.
    pub async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("connected");
        stream.set_nodelay(true).expect("option");
        Client(Framed::new(stream, Frames::new(u32::MAX)))
    }

    /// A client with an open session.
    pub async fn session(&self, init: ai::Init) -> (Client, ai::InitOk) {
        let mut client = self.connect().await;
        let opened = client.open(init).await;
        (client, opened)
    }

    /// Sends an HTTP request over the socket as nginx would, with [`KEY`]; status and body.
    pub async fn http(&self, head: &str, body: &[u8]) -> (u16, String) {
        self.http_without_key(&format!("{head}\r\nauthorization: Bearer {KEY}"), body).await
    }

    /// The same without a key.
    pub async fn http_without_key(&self, head: &str, body: &[u8]) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let socket = self.root().join("run/actionbooster/worker.sock");
        let mut stream = tokio::net::UnixStream::connect(socket).await.expect("socket");
        let head = format!(
            "{head}\r\nhost: box\r\nx-forwarded-for: 192.0.2.1\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        // A refusal may come, and the connection close, before the whole is written.
        let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("in time");
        assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        (head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("status"), body.to_owned())
    }

    /// What a metric stands at, summed over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.http("GET /metrics HTTP/1.1", b"").await;
        let ours = |line: &&str| line.starts_with(name) && !line.starts_with('#');
        text.lines().filter(ours).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Resident memory in bytes, without the processes of detectors.
    pub fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("status");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("kB") * 1024
    }

    /// Processes of detectors.
    pub fn detectors(&self) -> Vec<Pid> {
        let parent = |pid: i32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name stands in parentheses and may hold anything; state and parent follow.
            text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
        };
        let names = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
        let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| parent(*pid) == Some(self.pid())).map(Pid::from_raw).collect()
    }

    /// Kills the worker on the spot and starts another on the same root.
    pub async fn kill_and_start(mut self, config: &str) -> Self {
        self.process.kill().expect("signal");
        self.process.wait().expect("end");
        let root = std::mem::replace(&mut self.root, tempfile::tempdir().expect("folder"));
        Self::start_at(root, config).await
    }

    /// Waits until something holds. For what can only be seen by looking.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let started = Instant::now();
        while !holds().await {
            assert!(started.elapsed() < LIMIT, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let killed = self.process.kill().and_then(|()| self.process.wait().map(drop));
        if let Err(error) = killed {
            eprintln!("the worker was already gone: {error}");
        }
    }
}

/// A client of `ai.proto`.
pub struct Client<S = TcpStream>(pub Framed<S, Frames<ai::Envelope, ai::Envelope>>);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Opens a session.
    pub async fn open(&mut self, init: ai::Init) -> ai::InitOk {
        self.request(ai::request::Kind::Init(init)).await;
        let opened = match self.response().await {
            ai::response::Kind::InitOk(opened) => opened,
            other => panic!("{other:?}"),
        };
        assert!(matches!(self.response().await, ai::response::Kind::Ready(_)));
        opened
    }

    /// Says something.
    pub async fn request(&mut self, kind: ai::request::Kind) {
        let request = ai::Request { kind: Some(kind) };
        let envelope = ai::Envelope { message: Some(ai::envelope::Message::Request(request)) };
        self.0.send(envelope).await.expect("sent");
    }

    /// What the worker says next, heartbeats aside; `None` when it has hung up.
    pub async fn next(&mut self) -> Option<ai::response::Kind> {
        loop {
            let message = tokio::time::timeout(LIMIT, self.0.next()).await.expect("in time")?;
            match message.ok()?.message? {
                ai::envelope::Message::Heartbeat(_) => {}
                ai::envelope::Message::Response(response) => return response.kind,
                other @ ai::envelope::Message::Request(_) => panic!("{other:?}"),
            }
        }
    }

    /// The same where it must say something.
    pub async fn response(&mut self) -> ai::response::Kind {
        self.next().await.expect("a response")
    }

    /// Sends a picture and waits for its result.
    pub async fn look(&mut self, frame: ai::Frame) -> ai::Result {
        self.request(ai::request::Kind::Frame(frame)).await;
        match self.response().await {
            ai::response::Kind::Result(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// The error that comes next.
    pub async fn error(&mut self) -> ai::Error {
        match self.response().await {
            ai::response::Kind::Error(error) => error,
            other => panic!("{other:?}"),
        }
    }
}

/// An Init for the shapes detector.
pub fn init() -> ai::Init {
    ai::Init { model: "shapes".into(), client: "test".into(), ..ai::Init::default() }
}

/// The picture as a frame.
pub fn frame(frame_id: u64) -> ai::Frame {
    ai::Frame {
        frame_id,
        ts_mono_ns: frame_id * 1000,
        format: ai::PixelFormat::Rgb.into(),
        width: 160,
        height: 160,
        data: picture().into(),
        ts_utc_ms: 0,
    }
}

fn make_key(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
    let database = rusqlite::Connection::open(path).expect("database");
    database.execute_batch(SCHEMA).expect("schema");
    let row = rusqlite::params!["k1", "k1", "infer read", token_hash(KEY)];
    database.execute("INSERT INTO api_key VALUES (?1, ?2, ?3, ?4, 'ab_…', 0)", row).expect("key");
}
