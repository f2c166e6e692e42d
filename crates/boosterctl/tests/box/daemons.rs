//! A box of real daemons below a root of its own.

#[path = "../../../../tests/ports.rs"]
mod ports;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Run, program};
use ports::port;

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What the repository ships, as `.rs` files of this crate see it.
pub fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Real daemons. They end when dropped.
pub struct RealBox {
    root: tempfile::TempDir,
    daemons: Vec<Child>,
    worker_port: u16,
}

impl RealBox {
    /// A box on which nothing runs yet.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { root, daemons: Vec::new(), worker_port: port() }
    }

    /// Puts the built-in detector where the image has it.
    pub fn with_shapes(self) -> Self {
        let folder = self.root.path().join("usr/share/actionbooster/models/shapes");
        std::fs::create_dir_all(&folder).unwrap();
        for file in ["manifest.toml", "shapes.onnx"] {
            std::fs::copy(shipped("tests/models/shapes").join(file), folder.join(file)).unwrap();
        }
        self
    }

    /// Starts the worker; with another library where one is named.
    pub fn with_worker(mut self, onnxruntime: Option<&str>) -> Self {
        self.configure("worker", &format!("listen = \"127.0.0.1:{}\"\n", self.worker_port));
        let variables: Vec<_> =
            onnxruntime.map(|path| ("ACTIONBOOSTER_ONNXRUNTIME", path)).into_iter().collect();
        self.start("worker", &variables);
        self
    }

    /// Starts the agent, whose cameras ask this box's worker.
    pub fn with_agent(mut self) -> Self {
        let vendor = self.root.path().join("usr/share/actionbooster");
        std::fs::create_dir_all(vendor.join("workflows")).unwrap();
        std::fs::copy(shipped("provisioning/models.toml"), vendor.join("models.toml")).unwrap();
        let cameras =
            format!("[cameras]\nworker = \"127.0.0.1:{}\"\nreserve_bytes = 1000000\n", self.worker_port);
        self.configure("agent", &cameras);
        self.start("agent", &[]);
        self
    }

    /// Starts the monitor.
    pub fn with_monitor(mut self) -> Self {
        self.start("monitor", &[]);
        self
    }

    /// Writes what the provisioner would decide.
    pub fn provision(&self, text: &str) {
        let folder = self.root.path().join("run/actionbooster");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("provisioned.toml"), text).unwrap();
    }

    fn configure(&self, daemon: &str, text: &str) {
        let folder = self.root.path().join("etc/actionbooster");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{daemon}.toml")), text).unwrap();
    }

    fn start(&mut self, daemon: &str, variables: &[(&str, &str)]) {
        let path = Path::new(env!("CARGO_BIN_EXE_boosterctl")).with_file_name(format!("booster-{daemon}"));
        assert!(
            path.exists(),
            "run `cargo build --release --workspace` first: {} is missing",
            path.display()
        );
        let mut command = Command::new(path);
        command.env("ACTIONBOOSTER_ROOT", self.root.path()).env("RUST_LOG", "warn").stdin(Stdio::null());
        self.daemons.push(command.envs(variables.iter().copied()).spawn().unwrap());
        let socket = self.root.path().join(format!("run/actionbooster/{daemon}.sock"));
        let started = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(started.elapsed() < LIMIT, "the {daemon} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The folder of the box's files.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The program with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.root());
        command.args(arguments);
        command
    }

    /// Runs it.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }
}

impl Drop for RealBox {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let killed = daemon.kill().and_then(|()| daemon.wait().map(drop));
            if let Err(error) = killed {
                eprintln!("a daemon was already gone: {error}");
            }
        }
    }
}
