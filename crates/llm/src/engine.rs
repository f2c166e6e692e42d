//! The engine as its callers see it: a loaded model and the queue into its thread.

use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::grammar::{Compiler, Format, Grammar};
use crate::options::{Description, Options};
use crate::request::{Embeddings, Event, Generation, Job, QUEUE, Request};
use crate::thread::own;

/// Events that a slow receiver may leave lying.
const EVENTS: usize = 64;
/// Room for the recursion of grammars, which are followed on the engine's thread.
const STACK: usize = 16 * 1024 * 1024;

/// A loaded model. Dropping it ends its thread after the current step.
pub struct Engine {
    jobs: Option<SyncSender<Job>>,
    description: Description,
    thread: Option<JoinHandle<()>>,
    /// Made when the first shape is asked for: it takes a moment and some memory.
    compiler: Mutex<Option<Compiler>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("description", &self.description).finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads the model and starts its thread. Takes as long as the file takes to read.
    pub fn load(file: &Path, options: Options) -> Result<Self, Error> {
        let (jobs, queue) = sync_channel(QUEUE);
        let (ready, loaded) = sync_channel(1);
        let file = file.to_path_buf();
        let thread = std::thread::Builder::new()
            .name("llama".into())
            .stack_size(STACK)
            .spawn(move || own(&file, &options, &queue, &ready))
            .map_err(|_| Error::Stopped)?;
        let description = loaded.recv().map_err(|_| Error::Stopped)??;
        Ok(Self { jobs: Some(jobs), description, thread: Some(thread), compiler: Mutex::new(None) })
    }

    /// What was loaded.
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// Puts a request into the queue and returns its events. Dropping the receiver cancels it.
    pub fn ask(&self, request: Request) -> Result<mpsc::Receiver<Event>, Error> {
        let vocabulary = i32::try_from(self.description.vocabulary).unwrap_or(i32::MAX);
        request.sampling.check(vocabulary)?;
        if !self.description.generates {
            return Err(Error::NoText);
        }
        let (events, receiver) = mpsc::channel(EVENTS);
        self.send(Job::Generate(Box::new(Generation { request, events })))?;
        Ok(receiver)
    }

    /// One vector per input, of length 1 when `normalize`; what is too long is cut when `truncate`, else refused.
    /// Dropping the future cancels it.
    pub async fn embed(
        &self,
        inputs: Vec<String>,
        normalize: bool,
        truncate: bool,
    ) -> Result<Embeddings, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Embed { inputs, normalize, truncate, reply })?;
        answer.await.map_err(|_| Error::Stopped)?
    }

    /// The tokens of a text; with `special`, the beginning-of-text token is added and names of special tokens
    /// in the text count as tokens.
    pub async fn tokenize(&self, text: String, special: bool) -> Result<Vec<i32>, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Tokenize { text, special, reply })?;
        answer.await.map_err(|_| Error::Stopped)
    }

    /// Compiles the shape of an answer. Takes up to seconds, the first time for a model above all:
    /// call it where waiting is allowed, never in an async task.
    pub fn grammar(&self, format: &Format) -> Result<Grammar, Error> {
        // A panic while holding this lock leaves None or a whole compiler.
        let mut compiler = self.compiler.lock().unwrap_or_else(PoisonError::into_inner);
        if compiler.is_none() {
            let (reply, answer) = oneshot::channel();
            self.send(Job::Vocabulary { reply })?;
            let vocabulary = answer.blocking_recv().map_err(|_| Error::Stopped)?;
            *compiler = Some(Compiler::new(&vocabulary)?);
        }
        compiler.as_ref().ok_or(Error::Stopped)?.compile(format)
    }

    fn send(&self, job: Job) -> Result<(), Error> {
        match self.jobs.as_ref().ok_or(Error::Stopped)?.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Error::Busy(QUEUE)),
            Err(TrySendError::Disconnected(_)) => Err(Error::Stopped),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the engine's thread panicked");
        }
    }
}
