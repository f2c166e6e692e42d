//! The engine's thread: every step decodes one batch that holds a piece of every request.
//!
//! Each active request has a slot, a sequence of the context. A step takes one token from every
//! slot that is answering, then fills the batch with pieces of prompts, in turn, so that a long
//! prompt cannot stall the rest. A slot keeps the tokens of its last request in memory; a new
//! request goes to the free slot with which it shares the longest beginning, and reads only the rest.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tokio::sync::mpsc;

use crate::request::{Event, Input, Job, Request};
use crate::slot::{Slot, Work, common_prefix};
use crate::template::{Message, render};
use crate::{Error, backend};

/// Tokens decoded in one step at most.
const BATCH: usize = 512;
/// Tokens of one prompt in a step while other requests wait for their turn.
const CHUNK: usize = 64;
/// Requests that wait for a slot at most.
const QUEUE: usize = 64;
/// Events that a slow receiver may leave lying.
const EVENTS: usize = 64;
/// How long the thread sleeps when every request waits for its receiver.
const STALL: Duration = Duration::from_millis(5);
/// Context when neither the owner nor the model says: enough for a conversation, small enough to fit.
const DEFAULT_CONTEXT: u32 = 4096;

/// How the engine is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Tokens of context per request; 0 takes the model's own, at most 4096.
    pub context_tokens: u32,
    /// Requests decoded together; 0 is 2.
    pub slots: u32,
    /// Threads that compute; 0 is one per processor it may use.
    pub threads: u32,
    /// Processors to run on; empty means all.
    pub cpus: Vec<usize>,
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `general.architecture`.
    pub architecture: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Tokens of context per request.
    pub context_tokens: u32,
    /// Requests decoded together.
    pub slots: u32,
    /// Whether the file has its own chat template.
    pub has_chat_template: bool,
}

/// A loaded model. Dropping it ends its thread after the current step.
#[derive(Debug)]
pub struct Engine {
    jobs: Option<SyncSender<Job>>,
    description: Description,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Loads the model and starts its thread. Takes as long as the file takes to read.
    pub fn load(file: &Path, options: Options) -> Result<Self, Error> {
        let (jobs, queue) = sync_channel(QUEUE);
        let (ready, loaded) = sync_channel(1);
        let file = file.to_path_buf();
        let thread = std::thread::Builder::new()
            .name("llama".into())
            .spawn(move || own(&file, &options, &queue, &ready))
            .map_err(|_| Error::Stopped)?;
        let description = loaded.recv().map_err(|_| Error::Stopped)??;
        Ok(Self { jobs: Some(jobs), description, thread: Some(thread) })
    }

    /// What was loaded.
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// Puts a request into the queue and returns its events. Dropping the receiver cancels it.
    pub fn ask(&self, request: Request) -> Result<mpsc::Receiver<Event>, Error> {
        let (events, receiver) = mpsc::channel(EVENTS);
        let jobs = self.jobs.as_ref().ok_or(Error::Stopped)?;
        match jobs.try_send(Job { request, events }) {
            Ok(()) => Ok(receiver),
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

/// The thread: everything of llama.cpp lives and dies here.
fn own(
    file: &Path,
    options: &Options,
    queue: &Receiver<Job>,
    ready: &SyncSender<Result<Description, Error>>,
) {
    let outcome = with_context(file, options, |model, context, description| {
        if ready.send(Ok(description.clone())).is_err() {
            return;
        }
        Stepper::new(model, context, &description).run(queue);
    });
    if let Err(error) = outcome {
        // Nobody waits any more when this fails.
        let _ = ready.send(Err(error));
    }
}

fn with_context(
    file: &Path,
    options: &Options,
    work: impl FnOnce(&LlamaModel, LlamaContext<'_>, Description),
) -> Result<(), Error> {
    // Before any thread of ggml exists, so that all of them inherit it.
    pin(&options.cpus)?;
    let backend = backend::start()?;
    let model = LlamaModel::load_from_file(&backend, file, &LlamaModelParams::default())
        .map_err(|_| Error::Load(file.display().to_string()))?;
    let per_slot = match options.context_tokens {
        0 => model.n_ctx_train().clamp(1, DEFAULT_CONTEXT),
        wanted => wanted,
    };
    let slots = options.slots.max(if options.slots == 0 { 2 } else { 1 });
    let threads =
        i32::try_from(if options.threads > 0 { options.threads } else { processors(options) }).unwrap_or(1);
    let parameters = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(per_slot.saturating_mul(slots)))
        .with_n_batch(BATCH as u32)
        .with_n_ubatch(BATCH as u32)
        .with_n_seq_max(slots)
        // In one common memory every request would look at what all the others remember, and skip it:
        // measured, that costs a third of the speed once a few conversations are remembered.
        .with_kv_unified(false)
        .with_n_threads(threads)
        .with_n_threads_batch(threads);
    let context = model.new_context(&backend, parameters).map_err(|error| Error::Context {
        context: per_slot,
        slots,
        reason: error.to_string(),
    })?;
    let description = Description {
        architecture: model.meta_val_str("general.architecture").unwrap_or_default(),
        parameters: model.n_params(),
        context_tokens: per_slot,
        slots,
        has_chat_template: model.chat_template(None).is_ok(),
    };
    work(&model, context, description);
    Ok(())
}

fn pin(cpus: &[usize]) -> Result<(), Error> {
    if cpus.is_empty() {
        return Ok(());
    }
    let refused = |_| Error::Affinity(format!("{cpus:?}"));
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu).map_err(refused)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).map_err(refused)
}

fn processors(options: &Options) -> u32 {
    if !options.cpus.is_empty() {
        return options.cpus.len() as u32;
    }
    std::thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

/// What one step reads for one slot.
struct Piece {
    slot: usize,
    tokens: Vec<LlamaToken>,
    /// Index in the batch of the logits to choose from, when this piece ends the prompt or is an answer's token.
    logits: Option<i32>,
}

struct Stepper<'model> {
    model: &'model LlamaModel,
    context: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    slots: Vec<Slot>,
    waiting: VecDeque<Job>,
    context_tokens: u32,
    template: Option<String>,
    /// Which slot's prompt goes first in the next step.
    turn: usize,
    clock: u64,
}

impl<'model> Stepper<'model> {
    fn new(model: &'model LlamaModel, context: LlamaContext<'model>, description: &Description) -> Self {
        let slots = (0..description.slots)
            .map(|number| Slot {
                sequence: number.cast_signed(),
                cached: Vec::new(),
                work: None,
                last_used: 0,
            })
            .collect();
        let template = model.chat_template(None).ok().and_then(|template| template.to_string().ok());
        Self {
            model,
            context,
            batch: LlamaBatch::new(BATCH, 1),
            slots,
            waiting: VecDeque::new(),
            context_tokens: description.context_tokens,
            template,
            turn: 0,
            clock: 0,
        }
    }

    /// Until nobody can ask any more.
    fn run(mut self, queue: &Receiver<Job>) {
        loop {
            if !self.take_jobs(queue) {
                return;
            }
            self.release();
            self.assign();
            let pieces = self.plan();
            if pieces.is_empty() {
                continue;
            }
            match self.context.decode(&mut self.batch) {
                Ok(()) => self.digest(pieces),
                Err(error) => self.fail_all(&Error::Decode(error.to_string())),
            }
        }
    }

    /// Fetches new requests; sleeps when there is nothing to do. False when the engine was dropped.
    fn take_jobs(&mut self, queue: &Receiver<Job>) -> bool {
        let idle = self.waiting.is_empty() && self.slots.iter().all(|slot| slot.work.is_none());
        let stalled =
            !idle && self.slots.iter_mut().filter_map(|slot| slot.work.as_mut()).all(|work| !work.flush());
        if idle {
            let Ok(job) = queue.recv() else { return false };
            self.waiting.push_back(job);
        } else if stalled {
            match queue.recv_timeout(STALL) {
                Ok(job) => self.waiting.push_back(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        while self.waiting.len() < QUEUE {
            match queue.try_recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    fn release(&mut self) {
        for slot in &mut self.slots {
            if slot.work.as_ref().is_some_and(Work::is_over) {
                slot.work = None;
            }
        }
        self.waiting.retain(|job| !job.events.is_closed());
    }

    /// Gives waiting requests to free slots, the one that remembers most of the prompt first.
    fn assign(&mut self) {
        while self.slots.iter().any(|slot| slot.work.is_none())
            && let Some(job) = self.waiting.pop_front()
        {
            let prompt = match self.read_prompt(&job.request) {
                Ok(prompt) => prompt,
                Err(error) => {
                    // The channel of a new request is empty.
                    let _ = job.events.try_send(Event::Failed(error));
                    continue;
                }
            };
            let free = self.slots.iter_mut().filter(|slot| slot.work.is_none());
            let best =
                free.max_by_key(|slot| (common_prefix(&slot.cached, &prompt), u64::MAX - slot.last_used));
            let Some(slot) = best else { return };
            // The last token is always read again: its logits begin the answer.
            let keep = common_prefix(&slot.cached, &prompt).min(prompt.len() - 1);
            let kept = forget_after(&mut self.context, slot, keep);
            self.clock += 1;
            slot.last_used = self.clock;
            let vocabulary = self.model.n_vocab();
            slot.work = Some(Work::begin(job, prompt, kept, self.context_tokens, vocabulary));
        }
    }

    fn read_prompt(&self, request: &Request) -> Result<Vec<LlamaToken>, Error> {
        let vocabulary = self.model.vocab();
        let tokens = match &request.input {
            Input::Prompt(text) => vocabulary.tokenize(text.as_bytes(), true, true),
            Input::Chat(messages) => {
                let (text, begins_itself) = self.render(messages)?;
                vocabulary.tokenize(text.as_bytes(), !begins_itself, true)
            }
        };
        if tokens.is_empty() {
            return Err(Error::PromptEmpty);
        }
        if tokens.len() as u64 >= u64::from(self.context_tokens) {
            return Err(Error::PromptTooLong { prompt: tokens.len(), context: self.context_tokens });
        }
        Ok(tokens)
    }

    /// The rendered prompt, and whether it begins with the BOS token already.
    fn render(&self, messages: &[Message]) -> Result<(String, bool), Error> {
        let vocabulary = self.model.vocab();
        let piece =
            |token| String::from_utf8_lossy(&vocabulary.token_to_piece(token, true, None)).into_owned();
        let bos = if vocabulary.bos().0 < 0 { String::new() } else { piece(vocabulary.bos()) };
        let eos = if vocabulary.eos().0 < 0 { String::new() } else { piece(vocabulary.eos()) };
        let text = render(self.template.as_deref(), messages, &bos, &eos)?;
        let begins_itself = !bos.is_empty() && text.starts_with(&bos);
        Ok((text, begins_itself))
    }

    /// Fills the batch: a token of every answer, then pieces of prompts in turn.
    fn plan(&mut self) -> Vec<Piece> {
        self.batch.clear();
        let mut pieces: Vec<Piece> = Vec::new();
        let mut room = BATCH;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(work) = &mut slot.work else { continue };
            if let Some(token) = work.next()
                && work.flush()
                && room > 0
            {
                pieces.push(Piece { slot: index, tokens: vec![token], logits: None });
                room -= 1;
            }
        }
        let reading: Vec<usize> = (0..self.slots.len())
            .map(|offset| (self.turn + offset) % self.slots.len())
            .filter(|index| self.slots[*index].work.as_ref().is_some_and(|work| !work.unread().is_empty()))
            .collect();
        // Alone, a prompt takes the whole batch.
        let share = if reading.len() + pieces.len() > 1 { CHUNK } else { BATCH };
        for index in &reading {
            let Some(work) = &self.slots[*index].work else { continue };
            let count = work.unread().len().min(share).min(room);
            if count > 0 {
                pieces.push(Piece { slot: *index, tokens: work.unread()[..count].to_vec(), logits: None });
                room -= count;
            }
        }
        self.turn = (self.turn + 1) % self.slots.len();
        for piece in &mut pieces {
            self.add(piece);
        }
        pieces
    }

    fn add(&mut self, piece: &mut Piece) {
        let slot = &self.slots[piece.slot];
        let ends = slot.work.as_ref().is_some_and(|work| work.unread().len() <= piece.tokens.len());
        let last = piece.tokens.len() - 1;
        for (offset, token) in piece.tokens.iter().enumerate() {
            let position = i32::try_from(slot.cached.len() + offset).unwrap_or(i32::MAX);
            let wants_logits = ends && offset == last;
            if wants_logits {
                piece.logits = Some(self.batch.n_tokens());
            }
            // The batch was made for BATCH tokens and `plan` never takes more.
            if let Err(error) = self.batch.add(*token, position, &[slot.sequence], wants_logits) {
                tracing::error!(%error, "the batch overflowed");
            }
        }
    }

    /// Takes the results of a step.
    fn digest(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            let slot = &mut self.slots[piece.slot];
            slot.cached.extend(&piece.tokens);
            let Some(work) = &mut slot.work else { continue };
            if work.next().is_none() {
                work.advance(piece.tokens.len());
            }
            if let Some(index) = piece.logits {
                work.choose(self.model, &self.context, index);
            }
        }
    }

    fn fail_all(&mut self, error: &Error) {
        tracing::error!(%error, "a decode step failed; its requests end");
        self.context.clear_kv_cache();
        for slot in &mut self.slots {
            slot.cached.clear();
            if let Some(work) = &mut slot.work {
                work.fail(error.clone());
            }
        }
    }
}

/// Drops everything after the first `keep` tokens of a slot; returns how many were really kept.
fn forget_after(context: &mut LlamaContext<'_>, slot: &mut Slot, keep: usize) -> usize {
    let sequence = slot.sequence.cast_unsigned();
    // Recurrent models cannot forget a part.
    let partial = context.clear_kv_cache_seq(Some(sequence), Some(keep as u32), None);
    if matches!(partial, Ok(true)) {
        slot.cached.truncate(keep);
        return keep;
    }
    if let Err(error) = context.clear_kv_cache_seq(Some(sequence), None, None) {
        tracing::error!(%error, "a sequence could not be cleared");
    }
    slot.cached.clear();
    0
}
