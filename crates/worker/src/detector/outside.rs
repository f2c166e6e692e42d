//! A detector's process as the worker sees it.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Pair;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actionbooster_vision::{Error, Settings};
use memmap2::MmapMut;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::ARGUMENT;
use super::talk::{About, LIMIT, Looked, Order, Picture, Report, Wanted, encode};
use crate::line::{Failure, Line, Seen, Work};

/// How long a model may take to load.
const LOAD_LIMIT: Duration = Duration::from_secs(180);
/// How long a process that broke off may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(2);
/// The shared memory's name, as the system shows it.
const NAME: &CStr = c"booster-pictures";

/// Has the C library ask for huge pages: a model's weights and tensors take thousands of small ones, and looking
/// those up costs 3 % of its time (YOLOX-nano).
const HUGE_PAGES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// What a process is started with.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) file: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) threads: usize,
    pub(crate) input: Option<(u32, u32)>,
    pub(crate) cpus: Vec<usize>,
    /// How long pictures may take.
    pub(crate) patience: Duration,
}

/// A process with a loaded model. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    talk: Talk,
    pub(crate) about: About,
    patience: Duration,
}

/// The library that computes, in its own words, or why there is none.
pub(crate) async fn describe() -> Result<String, String> {
    let mut talk = Talk::begin().map_err(|error| error.to_string())?;
    match talk.ask(&Order::Describe, LOAD_LIMIT).await? {
        Report::Describes(words) => Ok(words),
        Report::Failed(error) => Err(error.to_string()),
        other => Err(format!("unexpected: {other:?}")),
    }
}

impl Process {
    /// Starts a process and loads the model in it.
    pub(crate) async fn start(start: Start) -> Result<Self, String> {
        let Start { file, settings, threads, input, cpus, patience } = start;
        let mut talk = Talk::begin().map_err(|error| format!("no process could be started: {error}"))?;
        let wanted = Wanted { file, settings, threads, input, cpus };
        match talk.ask(&Order::Load(wanted), LOAD_LIMIT).await? {
            Report::Ready(about) => Ok(Self { talk, about, patience }),
            Report::Failed(error) => Err(error.to_string()),
            other => Err(format!("unexpected: {other:?}")),
        }
    }

    /// Its number, as the system counts processes; nothing when it has ended.
    pub(crate) fn id(&self) -> Option<u32> {
        self.talk.child.id()
    }

    /// Looks at what comes to the line until that is closed. A process that fails fails the line.
    pub(crate) async fn serve(mut self, line: Arc<Line>) {
        while let Some(works) = line.take(self.about.most_together).await {
            if let Err(why) = self.look(&works).await {
                let why = Arc::from(why);
                tracing::error!(%why, "a detector is gone");
                line.fail(&why);
                for work in works {
                    work.tell(Err(Failure::Gone(Arc::clone(&why))));
                }
                break;
            }
        }
        self.talk.end().await;
    }

    /// Looks at these pictures and answers each. The error says why the process is of no use any more.
    async fn look(&mut self, works: &[Work]) -> Result<(), String> {
        let started = Instant::now();
        let pictures = self.talk.lay(works).map_err(|error| format!("no memory for pictures: {error}"))?;
        let outcomes = match self.talk.ask(&Order::Look(pictures), self.patience).await? {
            Report::Looked(outcomes) if outcomes.len() == works.len() => outcomes,
            other => return Err(format!("unexpected: {other:?}")),
        };
        let together = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        for (work, outcome) in works.iter().zip(outcomes) {
            work.tell(match outcome {
                Ok(Looked { detections, size, spent }) => {
                    metrics::counter!("frames_processed_total").increment(1);
                    metrics::histogram!("inference_time_ms").record(spent.inference.as_secs_f64() * 1e3);
                    let queued = started.saturating_duration_since(work.arrived);
                    Ok(Seen { detections, size, queued, spent, together })
                }
                Err(error) => {
                    if !matches!(error, Error::Frame(_)) {
                        tracing::error!(%error, "a model failed at a picture");
                    }
                    Err(Failure::Picture(error))
                }
            });
        }
        Ok(())
    }
}

/// A process and the way to talk with it.
#[derive(Debug)]
struct Talk {
    child: Child,
    stream: UnixStream,
    pictures: File,
    map: Option<MmapMut>,
    buffer: Vec<u8>,
}

impl Talk {
    fn begin() -> io::Result<Self> {
        let (ours, theirs) = Pair::pair()?;
        ours.set_nonblocking(true)?;
        let pictures = memfd_create(NAME, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        fcntl(&pictures, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK))?;
        let pictures = File::from(pictures);
        let child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(pictures.try_clone()?))
            // It is no service of its own.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env(HUGE_PAGES.0, HUGE_PAGES.1)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, stream: UnixStream::from_std(ours)?, pictures, map: None, buffer: Vec::new() })
    }

    /// Lays pictures into the shared memory, which grows with them.
    fn lay(&mut self, works: &[Work]) -> io::Result<Vec<Picture>> {
        let length = works.iter().map(|work| work.data.len()).sum();
        let mut room = self.room(length)?;
        for work in works {
            let (place, rest) = room.split_at_mut(work.data.len());
            place.copy_from_slice(&work.data);
            room = rest;
        }
        let picture = |work: &Work| Picture {
            format: work.format,
            width: work.width,
            height: work.height,
            length: work.data.len(),
            limits: work.limits.clone(),
        };
        Ok(works.iter().map(picture).collect())
    }

    /// The shared memory, of at least this length.
    #[expect(unsafe_code, reason = "a mapping saves a system call's second look at every page")]
    fn room(&mut self, length: usize) -> io::Result<&mut [u8]> {
        if self.map.as_ref().is_none_or(|map| map.len() < length) {
            self.pictures.set_len(length as u64)?;
            // Pages that are not there are no surprise then: a full memory is an error here.
            fallocate(
                &self.pictures,
                FallocateFlags::empty(),
                0,
                i64::try_from(length).map_err(io::Error::other)?,
            )?;
            // SAFETY: the process only reads, while we wait for it, and the seal keeps it from making it smaller.
            self.map = Some(unsafe { MmapMut::map_mut(&self.pictures) }?);
        }
        Ok(self.map.as_deref_mut().unwrap_or_default())
    }

    /// Gives an order and waits for what comes of it. The error says what became of the process.
    async fn ask(&mut self, order: &Order, patience: Duration) -> Result<Report, String> {
        match tokio::time::timeout(patience, self.exchange(order)).await {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(error)) => Err(self.obituary(&error).await),
            Err(_) => Err(format!(
                "the detector's process did not answer for {} s and was killed",
                patience.as_secs()
            )),
        }
    }

    async fn exchange(&mut self, order: &Order) -> io::Result<Report> {
        encode(order, &mut self.buffer)?;
        self.stream.write_all(&self.buffer).await?;
        let length = self.stream.read_u32_le().await? as usize;
        if length > LIMIT {
            return Err(io::Error::other(format!("a report of {length} bytes")));
        }
        self.buffer.resize(length, 0);
        self.stream.read_exact(&mut self.buffer).await?;
        Ok(serde_json::from_slice(&self.buffer)?)
    }

    /// What became of a process that broke off.
    async fn obituary(&mut self, error: &io::Error) -> String {
        match tokio::time::timeout(END_LIMIT, self.child.wait()).await {
            Ok(Ok(status)) => format!("the detector's process ended: {status}"),
            Ok(Err(_)) | Err(_) => format!("the detector's process broke off: {error}"),
        }
    }

    /// Kills it; it keeps nothing that is worth an orderly end.
    async fn end(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "a detector's process could not be ended");
        }
    }
}
