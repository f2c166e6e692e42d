//! The detectors: which are in the store, which are loaded, who uses them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use actionbooster_models::{Kind, Model, Store, StoreError};
use actionbooster_vision::{Settings, labels};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;

use crate::detector::{About, Process, Start};
use crate::line::Line;
use crate::state::State;

/// Names of classes, one a line, beside a model's file.
const LABELS: &str = "labels.txt";
/// Bytes of it that are read.
const LABELS_LIMIT: u64 = 256 << 10;
/// How long a model's keeper may take to end.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("there is no detector {id} in the store{}", others(.known))]
    Unknown { id: String, known: Vec<String> },
    #[error("the detector {id} cannot be used: {reason}")]
    Unusable { id: String, reason: String },
    #[error("the worker is stopping; try again when it is back")]
    Closing,
}

fn others(known: &[String]) -> String {
    if known.is_empty() { "; add one first".into() } else { format!("; there are {}", known.join(", ")) }
}

/// What tells loaded models apart: the file as it was, and the size of the input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    file: PathBuf,
    stamp: (u64, SystemTime),
    input: Option<(u32, u32)>,
}

/// A loaded model.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) id: String,
    /// SHA-256 of the file, in hexadecimal.
    pub(crate) model_id: String,
    pub(crate) about: About,
    pub(crate) line: Arc<Line>,
    /// When its last session ended.
    idle_since: Mutex<Instant>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

/// The right to send pictures to a loaded model.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) session: u64,
    detectors: Arc<Detectors>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.loaded.line.leave(self.session);
        *lock(&self.loaded.idle_since) = Instant::now();
        self.detectors.publish();
    }
}

/// A load that is under way. Who wanted it may leave at any time.
struct Loading<'a>(&'a Detectors);

impl<'a> Loading<'a> {
    fn begin(detectors: &'a Detectors) -> Self {
        lock(&detectors.books).loading += 1;
        detectors.publish();
        Self(detectors)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        lock(&self.0.books).loading -= 1;
        self.0.publish();
    }
}

#[derive(Debug, Default)]
struct Books {
    loaded: HashMap<Key, Arc<Loaded>>,
    loading: usize,
    state: Option<State>,
    closed: bool,
}

/// How models are computed.
#[derive(Debug, Clone)]
pub(crate) struct Computing {
    /// Threads of one model.
    pub(crate) threads: usize,
    /// Processors they run on; all when empty.
    pub(crate) cpus: Vec<usize>,
    /// How long pictures may take.
    pub(crate) patience: Duration,
}

/// The detectors.
#[derive(Debug)]
pub(crate) struct Detectors {
    store: Store,
    computing: Computing,
    idle: Duration,
    books: Mutex<Books>,
    /// One model loads at a time, and who wants the same one finds it loaded.
    turn: AsyncMutex<()>,
    sessions: AtomicU64,
}

impl Detectors {
    pub(crate) fn new(store: Store, computing: Computing, idle: Duration) -> Arc<Self> {
        let detectors = Arc::new(Self {
            store,
            computing,
            idle,
            books: Mutex::default(),
            turn: AsyncMutex::new(()),
            sessions: AtomicU64::new(1),
        });
        detectors.publish();
        detectors
    }

    /// The detectors of the store, by id.
    pub(crate) fn list(&self) -> Vec<Model> {
        let (models, _) = self.store.list();
        models.into_values().filter(|model| model.kind() == Kind::Detector).collect()
    }

    /// Names of loaded models, and whether somebody uses them.
    pub(crate) fn loaded(&self) -> HashMap<String, usize> {
        let mut found = HashMap::new();
        for loaded in lock(&self.books).loaded.values() {
            *found.entry(loaded.id.clone()).or_default() += loaded.line.sessions();
        }
        found
    }

    /// A seat at this model, which is loaded if need be.
    pub(crate) async fn seat(
        self: &Arc<Self>,
        id: &str,
        input: Option<(u32, u32)>,
    ) -> Result<Seat, OpenError> {
        let unusable = |reason: String| OpenError::Unusable { id: id.to_owned(), reason };
        let (own, wanted) = (Arc::clone(self), id.to_owned());
        let found = tokio::task::spawn_blocking(move || own.find(&wanted, input)).await;
        let (model, key) = found.map_err(|error| unusable(error.to_string()))??;
        let _turn = self.turn.lock().await;
        if let Some(seat) = self.take(&key)? {
            return Ok(seat);
        }
        let started = Instant::now();
        let loading = Loading::begin(self);
        let loaded = self.load(model, key.input).await.map_err(unusable)?;
        metrics::histogram!("model_load_seconds").record(started.elapsed().as_secs_f64());
        tracing::info!(
            model = id,
            seconds = started.elapsed().as_secs_f64(),
            head = loaded.about.head,
            "loaded"
        );
        lock(&self.books).loaded.insert(key.clone(), Arc::new(loaded));
        drop(loading);
        self.take(&key)?.ok_or(OpenError::Closing)
    }

    fn find(&self, id: &str, input: Option<(u32, u32)>) -> Result<(Model, Key), OpenError> {
        let unusable = |reason: String| OpenError::Unusable { id: id.to_owned(), reason };
        let known = || self.list().into_iter().map(|model| model.manifest.id).collect();
        let model = match self.store.open(id) {
            Ok(model) if model.kind() == Kind::Detector => model,
            Ok(_) => return Err(unusable("it is a language model; a detector is needed".into())),
            Err(StoreError::Missing(_)) => {
                return Err(OpenError::Unknown { id: id.to_owned(), known: known() });
            }
            Err(error) => return Err(unusable(error.to_string())),
        };
        let file = model.file();
        let stamp = std::fs::metadata(&file).and_then(|data| Ok((data.len(), data.modified()?)));
        let stamp = stamp.map_err(|error| unusable(format!("cannot read {}: {error}", file.display())))?;
        Ok((model, Key { file, stamp, input }))
    }

    fn take(self: &Arc<Self>, key: &Key) -> Result<Option<Seat>, OpenError> {
        let books = lock(&self.books);
        if books.closed {
            return Err(OpenError::Closing);
        }
        let loaded = books.loaded.get(key).filter(|loaded| !loaded.line.is_gone()).cloned();
        let Some(loaded) = loaded else { return Ok(None) };
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        // Under the lock, so that it is not unloaded in this instant.
        loaded.line.enter(session);
        drop(books);
        self.publish();
        Ok(Some(Seat { loaded, session, detectors: Arc::clone(self) }))
    }

    /// Checks the file and starts a process that loads it.
    async fn load(&self, model: Model, input: Option<(u32, u32)>) -> Result<Loaded, String> {
        // Reads the whole file: what is loaded is what was added.
        let verified = tokio::task::spawn_blocking(move || model.verify().map(|()| model)).await;
        let model = verified.map_err(|error| error.to_string())?.map_err(|error| chain(&error))?;
        let settings = settings(&model)?;
        let Computing { threads, cpus, patience } = self.computing.clone();
        let start = Start { file: model.file(), settings, threads, input, cpus, patience };
        let process = Process::start(start).await?;
        let (about, line) = (process.about.clone(), Arc::<Line>::default());
        let serving = tokio::spawn(process.serve(Arc::clone(&line)));
        Ok(Loaded {
            id: model.manifest.id.clone(),
            model_id: model.manifest.sha256.to_lowercase(),
            about,
            line,
            idle_since: Mutex::new(Instant::now()),
            serving: Mutex::new(Some(serving)),
        })
    }

    /// Unloads what nobody has used for long enough, and forgets what is gone.
    pub(crate) async fn unload_idle(&self) {
        let over = |loaded: &Arc<Loaded>| {
            let idle = loaded.line.sessions() == 0 && lock(&loaded.idle_since).elapsed() >= self.idle;
            idle || loaded.line.is_gone()
        };
        let gone: Vec<Arc<Loaded>> = {
            let mut books = lock(&self.books);
            let keys: Vec<Key> =
                books.loaded.iter().filter(|(_, loaded)| over(loaded)).map(|(key, _)| key.clone()).collect();
            keys.iter().filter_map(|key| books.loaded.remove(key)).collect()
        };
        if gone.is_empty() {
            return;
        }
        for loaded in gone {
            loaded.end().await;
        }
        give_back();
        self.publish();
    }

    /// Ends every model's process.
    pub(crate) async fn close(&self) {
        let gone: Vec<Arc<Loaded>> = {
            let mut books = lock(&self.books);
            books.closed = true;
            books.loaded.drain().map(|(_, loaded)| loaded).collect()
        };
        for loaded in gone {
            loaded.end().await;
        }
    }

    /// The worker's state now.
    pub(crate) fn state(&self) -> State {
        let books = lock(&self.books);
        let sessions = books.loaded.values().map(|loaded| loaded.line.sessions()).sum();
        State::of(books.loading, books.loaded.len(), sessions)
    }

    /// Tells the state to whoever reads metrics.
    fn publish(&self) {
        let state = self.state();
        let before = lock(&self.books).state.replace(state);
        metrics::gauge!("worker_state").set(state.number());
        if state == State::Idle && before.is_some_and(|before| before != State::Idle) {
            metrics::counter!("transitions_to_idle_total").increment(1);
            tracing::info!("idle: no model is loaded");
        }
    }
}

impl Loaded {
    async fn end(&self) {
        self.line.close();
        let serving = lock(&self.serving).take();
        if let Some(mut serving) = serving {
            match tokio::time::timeout(END_LIMIT, &mut serving).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(model = self.id, %error, "a detector's keeper broke off"),
                // In the middle of a picture that takes too long; the process goes with it.
                Err(_) => serving.abort(),
            }
        }
        tracing::info!(model = self.id, "unloaded");
    }
}

/// Gives memory that was freed back to the system. The C library keeps it otherwise: the pictures that came in.
#[expect(unsafe_code, reason = "a call into the C library; it takes a number and touches no memory of ours")]
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no precondition.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What is known of a model beyond its file: its manifest, and names of classes in `labels.txt` beside it.
fn settings(model: &Model) -> Result<Settings, String> {
    let told = model.manifest.detector.clone().try_into();
    let mut settings: Settings = told.map_err(|error| format!("[detector] of its manifest: {error}"))?;
    if settings.labels.is_empty() {
        let file = model.file().with_file_name(LABELS);
        match File::open(&file) {
            Ok(file) => {
                let mut text = String::new();
                file.take(LABELS_LIMIT)
                    .read_to_string(&mut text)
                    .map_err(|error| format!("{LABELS}: {error}"))?;
                settings.labels = labels::from_lines(&text);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{LABELS}: {error}")),
        }
    }
    Ok(settings)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
