//! A ComfyUI server for tests: the real routes and messages, executing graphs without any model.
//!
//! It has a queue, a history, websockets, uploads and outputs as the real one has; instead of
//! computing it waits, and what it "saves" is a small picture. It remembers what it was asked.

mod execute;
mod routes;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

pub const GIB: u64 = 1 << 30;
pub const SD15: &str = "v1-5-pruned-emaonly-fp16.safetensors";
pub const SDXL: &str = "sd_xl_base_1.0.safetensors";

/// A whole PNG of one pixel.
pub const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\x03\x01\x01\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82";
/// The first box of an MP4, and an empty one.
pub const MP4: &[u8] = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2\0\0\0\x08free";

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    pub checkpoints: Vec<&'static str>,
    pub websocket: Websocket,
    /// Time of one step of the sampler.
    pub step: Duration,
    /// Class of a node that fails, with its message.
    pub fails: Option<(&'static str, &'static str)>,
    pub output: Output,
    pub total: u64,
    /// Free memory before and after it is asked to let go of its models.
    pub free: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Websocket {
    Works,
    Refused,
    /// Closed after so many messages.
    Breaks(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Real,
    /// Announces more than anybody should take.
    AnnouncedHuge,
    /// Never ends, and announces nothing.
    Endless,
    Html,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            checkpoints: vec![SD15, SDXL],
            websocket: Websocket::Works,
            step: Duration::from_millis(1),
            fails: None,
            output: Output::Real,
            total: 24 * GIB,
            free: (24 * GIB, 24 * GIB),
        }
    }
}

/// What the server was asked, and what it does.
#[derive(Debug, Default)]
pub struct Inside {
    /// Bodies of `POST /prompt`, as they came.
    pub prompts: Vec<Value>,
    /// Files that were uploaded, by name.
    pub uploads: HashMap<String, Vec<u8>>,
    /// Bodies of `POST /interrupt`.
    pub interrupts: Vec<Value>,
    /// Ids that were taken out of the queue.
    pub deleted: Vec<String>,
    pub freed: u32,
    pub views: u32,
    pending: VecDeque<Task>,
    running: Option<Task>,
    interrupted: bool,
    history: Map<String, Value>,
    sockets: HashMap<String, mpsc::UnboundedSender<String>>,
}

#[derive(Debug, Clone)]
struct Task {
    id: String,
    number: usize,
    client: String,
    graph: Value,
}

#[derive(Debug)]
pub struct Server {
    behaviour: Mutex<Behaviour>,
    inside: Mutex<Inside>,
    queued: Notify,
}

type Shared = Arc<Server>;

impl Server {
    fn behaviour(&self) -> Behaviour {
        self.behaviour.lock().expect("behaviour").clone()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("inside")
    }
}

/// A running server. Gone with all its connections when dropped.
pub struct ComfyUi {
    server: Shared,
    runtime: Option<Runtime>,
    pub address: String,
}

impl ComfyUi {
    pub fn start(behaviour: Behaviour) -> Self {
        let runtime = Runtime::new().expect("runtime");
        let server = Arc::new(Server {
            behaviour: Mutex::new(behaviour),
            inside: Mutex::default(),
            queued: Notify::new(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        listener.set_nonblocking(true).expect("listener");
        let address = format!("http://{}", listener.local_addr().expect("address"));
        let (routes, executor) = (routes::routes(Arc::clone(&server)), Arc::clone(&server));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
            axum::serve(listener, routes).await.expect("serves");
        });
        runtime.spawn(execute::execute(executor));
        Self { server, runtime: Some(runtime), address }
    }

    /// The lines of the agent's settings that name this server.
    pub fn config(&self) -> String {
        format!("[gateway]\ncomfyui = \"{}\"\n", self.address)
    }

    /// Changes how it behaves from now on.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.server.behaviour.lock().expect("behaviour"));
    }

    /// What it was asked so far.
    pub fn asked<T>(&self, look: impl FnOnce(&Inside) -> T) -> T {
        look(&self.server.inside())
    }

    /// The graph of the latest `POST /prompt`.
    pub fn graph(&self) -> Value {
        self.asked(|inside| inside.prompts.last().expect("a prompt")["prompt"].clone())
    }
}

impl Drop for ComfyUi {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
