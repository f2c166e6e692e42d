//! The detectors: which are in the store, which are loaded, who uses them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use actionbooster_models::{Kind, Model, Store, StoreError};
use actionbooster_vision::{Settings, labels};
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use crate::detector::{Process, Start};
use crate::loaded::{Capacity, Key, Loaded, candidates, choose};
use crate::quotas::{ClientId, Permit, Quotas, Refusal};
use crate::state::State;

/// Names of classes, one a line, beside a model's file.
const LABELS: &str = "labels.txt";
/// Bytes of it that are read.
const LABELS_LIMIT: u64 = 256 << 10;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("there is no detector {id} in the store{}", others(.known))]
    Unknown { id: String, known: Vec<String> },
    #[error("the detector {id} cannot be used: {reason}")]
    Unusable { id: String, reason: String },
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("the detector {id} cannot be loaded now: {reason}")]
    Full { id: String, reason: String },
    #[error("the worker is stopping; try again when it is back")]
    Closing,
}

fn others(known: &[String]) -> String {
    if known.is_empty() { "; add one first".into() } else { format!("; there are {}", known.join(", ")) }
}

/// The right to send pictures to a loaded model.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) session: u64,
    detectors: Arc<Detectors>,
    _permit: Permit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.loaded.line.leave(self.session);
        *lock(&self.loaded.idle_since) = Instant::now();
        self.detectors.publish();
    }
}

/// A load that is under way. Who wanted it may leave at any time.
struct Loading<'a> {
    detectors: &'a Detectors,
    bytes: u64,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut books = lock(&self.detectors.books);
        books.loading -= 1;
        books.loading_bytes -= self.bytes;
        drop(books);
        self.detectors.publish();
    }
}

#[derive(Debug, Default)]
struct Books {
    loaded: HashMap<Key, Arc<Loaded>>,
    /// Loads that are under way, and bytes that they are likely to take.
    loading: usize,
    loading_bytes: u64,
    state: Option<State>,
    closed: bool,
}

impl Books {
    fn remove(&mut self, keys: &[Key]) -> Vec<Arc<Loaded>> {
        keys.iter().filter_map(|key| self.loaded.remove(key)).collect()
    }
}

async fn end(gone: Vec<Arc<Loaded>>) {
    for loaded in gone {
        loaded.end().await;
    }
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
    capacity: Capacity,
    quotas: Arc<Quotas>,
    books: Mutex<Books>,
    /// A model is loaded once, and who wants the same one finds it loaded. Others are loaded meanwhile.
    turns: Mutex<HashMap<Key, Weak<AsyncMutex<()>>>>,
    sessions: AtomicU64,
}

impl Detectors {
    pub(crate) fn new(
        store: Store,
        computing: Computing,
        idle: Duration,
        capacity: Capacity,
        quotas: Arc<Quotas>,
    ) -> Arc<Self> {
        let detectors = Arc::new(Self {
            store,
            computing,
            idle,
            capacity,
            quotas,
            books: Mutex::default(),
            turns: Mutex::default(),
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

    /// A seat at this model for a client, which is loaded if need be.
    pub(crate) async fn seat(
        self: &Arc<Self>,
        client: &ClientId,
        id: &str,
        input: Option<(u32, u32)>,
    ) -> Result<Seat, OpenError> {
        let unusable = |reason: String| OpenError::Unusable { id: id.to_owned(), reason };
        let (own, wanted) = (Arc::clone(self), id.to_owned());
        let found = tokio::task::spawn_blocking(move || own.find(&wanted, input)).await;
        let (model, key) = found.map_err(|error| unusable(error.to_string()))??;
        let permit = self.quotas.admit(client, &key)?;
        let turn = self.turn(&key);
        let _turn = turn.lock().await;
        let permit = match self.take(&key, permit)? {
            Ok(seat) => return Ok(seat),
            Err(permit) => permit,
        };
        let started = Instant::now();
        let loading = self.make_room(id, &key).await?;
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
        let seat = self.take(&key, permit)?.map_err(|_| OpenError::Closing)?;
        self.shrink().await;
        Ok(seat)
    }

    /// What whoever loads this model holds.
    fn turn(&self, key: &Key) -> Arc<AsyncMutex<()>> {
        let mut turns = lock(&self.turns);
        if let Some(turn) = turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(key.clone(), Arc::downgrade(&turn));
        turn
    }

    /// Unloads what has to go for this model, and keeps the room until the model is there.
    async fn make_room(&self, id: &str, key: &Key) -> Result<Loading<'_>, OpenError> {
        let bytes = key.estimate();
        let (loading, gone) = {
            let mut books = lock(&self.books);
            let coming = (books.loading + 1, books.loading_bytes.saturating_add(bytes));
            // One whose process is gone takes nothing; the housekeeping forgets it.
            let mut loaded = candidates(&books.loaded);
            loaded.retain(|candidate| !books.loaded[&candidate.key].line.is_gone());
            let gone = choose(loaded, coming, self.capacity)
                .map_err(|reason| OpenError::Full { id: id.to_owned(), reason })?;
            (books.loading, books.loading_bytes) = coming;
            (Loading { detectors: self, bytes }, books.remove(&gone))
        };
        self.publish();
        end(gone).await;
        Ok(loading)
    }

    /// Unloads what nobody uses until the rest takes no more than it may: what a model takes is only known now.
    async fn shrink(&self) {
        let gone = {
            let mut books = lock(&self.books);
            let coming = (books.loading, books.loading_bytes);
            // What is in use stays, however much it takes.
            let gone = choose(candidates(&books.loaded), coming, self.capacity).unwrap_or_default();
            books.remove(&gone)
        };
        end(gone).await;
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
        Ok((model, Key::new(file, stamp, input)))
    }

    /// A seat at a model that is loaded; else the permit comes back.
    fn take(self: &Arc<Self>, key: &Key, permit: Permit) -> Result<Result<Seat, Permit>, OpenError> {
        let books = lock(&self.books);
        if books.closed {
            return Err(OpenError::Closing);
        }
        let loaded = books.loaded.get(key).filter(|loaded| !loaded.line.is_gone()).cloned();
        let Some(loaded) = loaded else { return Ok(Err(permit)) };
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        // Under the lock, so that it is not unloaded in this instant.
        loaded.line.enter(session);
        drop(books);
        self.publish();
        Ok(Ok(Seat { loaded, session, detectors: Arc::clone(self), _permit: permit }))
    }

    /// Checks the file and starts a process that loads it.
    async fn load(&self, model: Model, input: Option<(u32, u32)>) -> Result<Loaded, String> {
        // Reads the whole file: what is loaded is what was added.
        let verified = on_a_thread(move || model.verify().map(|()| model)).await;
        let model = verified.ok_or("its file could not be read")?.map_err(|error| chain(&error))?;
        let settings = settings(&model)?;
        let Computing { threads, cpus, patience } = self.computing.clone();
        let start = Start { file: model.file(), settings, threads, input, cpus, patience };
        let process = Process::start(start).await?;
        Ok(Loaded::new(model.manifest.id.clone(), model.manifest.sha256.to_lowercase(), process))
    }

    /// Unloads what nobody has used for long enough, and forgets what is gone.
    pub(crate) async fn unload_idle(&self) {
        let over = |loaded: &Arc<Loaded>| {
            loaded.idle_for().is_some_and(|idle| idle >= self.idle) || loaded.line.is_gone()
        };
        let gone: Vec<Arc<Loaded>> = {
            let mut books = lock(&self.books);
            let keys: Vec<Key> =
                books.loaded.iter().filter(|(_, loaded)| over(loaded)).map(|(key, _)| key.clone()).collect();
            books.remove(&keys)
        };
        if gone.is_empty() {
            return;
        }
        end(gone).await;
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
        end(gone).await;
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

/// Runs slow work on a thread of its own: those of the runtime are few, and answer everybody else. Nothing when it
/// could not be done.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, outcome) = oneshot::channel();
    let send = move || drop(sender.send(work()));
    std::thread::Builder::new().name("verify".into()).spawn(send).ok()?;
    outcome.await.ok()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
