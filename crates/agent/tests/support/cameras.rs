//! What cameras need besides the agent: a real worker, pictures, and an ear.

#[path = "../../../../tests/ports.rs"]
mod ports;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{ADMIN_KEY, Agent, Events, LIMIT};
use ports::port;

/// The folder of the shapes detector.
pub fn shapes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/shapes")
}

/// A real worker with the shapes detector. Ends when dropped.
pub struct Worker {
    root: tempfile::TempDir,
    process: Child,
    /// Where it listens on the loopback interface.
    pub port: u16,
}

impl Worker {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let root = tempfile::tempdir().expect("folder");
        let folder = root.path().join("var/lib/actionbooster/models/shapes");
        std::fs::create_dir_all(&folder).expect("folder");
        for file in ["manifest.toml", "shapes.onnx"] {
            std::fs::copy(shapes().join(file), folder.join(file)).expect("copied");
        }
        let port = port();
        std::fs::create_dir_all(root.path().join("etc/actionbooster")).expect("folder");
        let config = format!("listen = \"127.0.0.1:{port}\"\n");
        std::fs::write(root.path().join("etc/actionbooster/worker.toml"), config).expect("config");
        let process = spawn(root.path());
        let worker = Self { root, process, port };
        worker.listens().await;
        worker
    }

    /// Has it read the store in this folder from now on.
    pub fn share(&self, store: &Path) {
        let own = self.root.path().join("var/lib/actionbooster/models");
        std::fs::remove_dir_all(&own).expect("removed");
        std::os::unix::fs::symlink(store, own).expect("linked");
    }

    async fn listens(&self) {
        let connect = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, connect).await.expect("the worker listens");
    }

    /// Kills it on the spot.
    pub fn kill(&mut self) {
        self.process.kill().expect("signal");
        self.process.wait().expect("end");
    }

    /// Starts it again on the same port.
    pub async fn again(&mut self) {
        self.process = spawn(self.root.path());
        self.listens().await;
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

fn spawn(root: &Path) -> Child {
    let program = Path::new(env!("CARGO_BIN_EXE_booster-agent")).with_file_name("booster-worker");
    assert!(
        program.exists(),
        "run `cargo build --release --workspace` first: {} is missing",
        program.display()
    );
    let mut command = Command::new(program);
    command.env("ACTIONBOOSTER_ROOT", root).env("RUST_LOG", "warn").stdin(Stdio::null());
    command.spawn().expect("worker")
}

/// A folder with a picture of shapes, as a camera that shows it again and again.
pub fn camera(pictures: &Path) -> Value {
    std::fs::copy(shapes().join("sample.jpg"), pictures.join("a.jpg")).expect("copied");
    json!({
        "id": "door",
        "name": "Front door",
        "source": {"kind": "folder", "path": pictures, "repeat": true},
        "model": "shapes",
        "classes": ["circle", "square"],
        "dwell_ms": 200,
        "silence_ms": 500,
        "post_roll_ms": 200,
        "record": true,
    })
}

/// The agent's events from now on.
pub async fn listen(agent: &Agent) -> Events {
    Events::of(agent.send_as(Some(ADMIN_KEY), "GET", "/api/v1/events", b"").await)
}
