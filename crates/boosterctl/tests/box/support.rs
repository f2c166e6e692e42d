//! A box made of canned answers behind real sockets, and the program run against it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;

/// What the program sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub line: String,
    pub key: Option<String>,
    pub body: Value,
}

/// What it is answered, in this order.
pub type Answers = Arc<Mutex<VecDeque<(u16, &'static str, String)>>>;

pub struct FakeBox {
    pub root: tempfile::TempDir,
    pub sent: Arc<Mutex<Vec<Sent>>>,
    pub answers: Answers,
    runtime: Runtime,
}

impl FakeBox {
    /// A box whose daemons all listen and give these answers.
    pub fn new(answers: &[(u16, &'static str, &str)]) -> Self {
        let this = Self::silent();
        for daemon in ["monitor", "agent", "worker"] {
            this.listen(daemon);
        }
        this.answer(answers);
        this
    }

    /// A box whose daemons do not run.
    pub fn silent() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run/actionbooster")).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { root, sent: Arc::default(), answers: Arc::default(), runtime }
    }

    pub fn answer(&self, answers: &[(u16, &'static str, &str)]) {
        let answers = answers.iter().map(|(status, kind, body)| (*status, *kind, (*body).to_owned()));
        self.answers.lock().unwrap().extend(answers);
    }

    pub fn run_path(&self, name: &str) -> PathBuf {
        self.root.path().join("run/actionbooster").join(name)
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Starts a daemon's socket.
    pub fn listen(&self, daemon: &str) {
        let path = self.run_path(&format!("{daemon}.sock"));
        let _inside = self.runtime.enter();
        let listener = UnixListener::bind(path).unwrap();
        let (sent, answers) = (Arc::clone(&self.sent), Arc::clone(&self.answers));
        self.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&sent), Arc::clone(&answers)));
            }
        });
    }

    /// The program with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.root.path());
        command.args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Run {
        use std::io::Write;
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Run::of(child.wait_with_output().unwrap())
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

/// The program, with nothing of this test's own surroundings.
pub fn program(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_boosterctl"));
    command.env_clear().env("ACTIONBOOSTER_ROOT", root).stdin(Stdio::null());
    command
}

#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Answers every request on one connection.
pub async fn serve<S>(stream: S, sent: Arc<Mutex<Vec<Sent>>>, answers: Answers)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (sent, answers) = (Arc::clone(&sent), Arc::clone(&answers));
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let key = request.headers().get(AUTHORIZATION).map(|key| key.to_str().unwrap().to_owned());
            let body = request.into_body().collect().await?.to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            sent.lock().unwrap().push(Sent { line, key, body });
            let answer = answers.lock().unwrap().pop_front();
            let (status, kind, body) = answer.unwrap_or((500, "text/plain", "no answer is left".into()));
            let response = Response::builder().status(status).header(CONTENT_TYPE, kind);
            Ok::<_, hyper::Error>(response.body(Full::new(Bytes::from(body))).unwrap())
        }
    });
    _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

pub const JSON: &str = "application/json";
pub const PROBLEM: &str = "application/problem+json";
pub const EVENTS: &str = "text/event-stream";
