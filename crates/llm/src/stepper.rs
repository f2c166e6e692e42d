//! The steps of the engine: each decodes one batch that holds a piece of every request.
//!
//! Each active request has a slot, a sequence of the context. A step takes one token from every
//! slot that is answering, then fills the batch with pieces of prompts, in turn, so that a long
//! prompt cannot stall the rest. A slot keeps the tokens of its last request in memory; a new request
//! reads only what neither its slot nor another one remembers of the same beginning.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::Error;
use crate::embed::Embedder;
use crate::grammar::Vocabulary;
use crate::memory::{Abilities, best_slot, forget_after, lend, make_room, should_wait};
use crate::options::{Description, Options};
use crate::prompt::{Prompt, PromptReader};
use crate::request::{Event, Generation, Job, QUEUE};
use crate::slot::{Limits, Slot, Work, common_prefix};

/// Tokens decoded in one step at most.
pub(crate) const BATCH: usize = 512;
/// Tokens of one prompt in a step while other requests wait for their turn.
const CHUNK: usize = 64;
/// How long the thread sleeps when every request waits for its receiver.
const STALL: Duration = Duration::from_millis(5);

/// What one step reads for one slot.
struct Piece {
    slot: usize,
    tokens: Vec<LlamaToken>,
    /// Index in the batch of the logits to choose from, when this piece ends the prompt or is an answer's token.
    logits: Option<i32>,
}

/// The context with its slots, and everything that waits for them.
pub(crate) struct Stepper<'model> {
    model: &'model LlamaModel,
    context: LlamaContext<'model>,
    embedder: Embedder<'model>,
    batch: LlamaBatch<'static>,
    prompts: PromptReader<'model>,
    marks: Vec<LlamaToken>,
    abilities: Abilities,
    slots: Vec<Slot>,
    waiting: VecDeque<Generation>,
    limits: Limits,
    /// Which slot's prompt goes first in the next step.
    turn: usize,
    clock: u64,
}

impl<'model> Stepper<'model> {
    pub(crate) fn new(
        model: &'model LlamaModel,
        context: LlamaContext<'model>,
        embedder: Embedder<'model>,
        description: &Description,
        options: &Options,
    ) -> Self {
        let prompts = PromptReader::new(model, description.context_tokens);
        let abilities = Abilities::of(model, &description.architecture);
        let limits = Limits {
            context: description.context_tokens,
            vocabulary: model.n_vocab(),
            moves: abilities.moves,
            answer_tokens: options.max_answer_tokens,
            answer_time: options.max_answer_time,
        };
        Self {
            model,
            context,
            embedder,
            batch: LlamaBatch::new(BATCH, 1),
            marks: prompts.marks(),
            prompts,
            abilities,
            slots: (0..description.slots).map(|number| Slot::new(number.cast_signed())).collect(),
            waiting: VecDeque::new(),
            limits,
            turn: 0,
            clock: 0,
        }
    }

    /// Until nobody can ask any more.
    pub(crate) fn run(mut self, queue: &Receiver<Job>) {
        loop {
            if !self.take_jobs(queue) {
                return;
            }
            self.release();
            self.assign();
            self.embedder.step();
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
        let working = self.slots.iter().any(|slot| slot.work.is_some()) || !self.waiting.is_empty();
        let stalled = self.slots.iter_mut().filter_map(|slot| slot.work.as_mut()).all(|work| !work.flush());
        let patience = match (working, stalled) {
            _ if self.embedder.is_busy() => Some(Duration::ZERO),
            (false, _) => self.embedder.idle_for(Instant::now()),
            (true, true) => Some(STALL),
            (true, false) => Some(Duration::ZERO),
        };
        let first = match patience {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
            Some(patience) => queue.recv_timeout(patience),
        };
        match first {
            Ok(job) => self.take(job),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        while self.waiting.len() < QUEUE {
            match queue.try_recv() {
                Ok(job) => self.take(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Generate(generation) => self.waiting.push_back(*generation),
            Job::Embed { inputs, normalize, truncate, reply } => {
                self.embedder.take(&inputs, normalize, truncate, reply);
            }
            Job::Tokenize { text, special, reply } => {
                let tokens = self.model.vocab().tokenize(text.as_bytes(), special, special);
                // Whoever asked may be gone.
                let _ = reply.send(tokens.into_iter().map(|token| token.0).collect());
            }
            Job::Vocabulary { reply } => {
                let _ = reply.send(Vocabulary::of(self.model));
            }
        }
    }

    fn release(&mut self) {
        for slot in &mut self.slots {
            if slot.work.as_ref().is_some_and(Work::is_over) {
                slot.work = None;
            }
        }
        self.waiting.retain(|generation| !generation.events.is_closed());
    }

    /// Gives waiting requests to free slots.
    fn assign(&mut self) {
        while self.slots.iter().any(|slot| slot.work.is_none())
            && let Some(generation) = self.waiting.pop_front()
        {
            let prompt =
                match self.prompts.read(&generation.request.input, generation.request.grammar.is_some()) {
                    Ok(prompt) => prompt,
                    Err(error) => {
                        // The channel of a new request is empty.
                        let _ = generation.events.try_send(Event::Failed(error));
                        continue;
                    }
                };
            let Prompt { tokens: prompt, reply } = prompt;
            let Some(index) = best_slot(&self.slots, &prompt, self.abilities.shares) else { return };
            let slot = &mut self.slots[index];
            // The last token is always read again: its logits begin the answer.
            let keep = common_prefix(slot.reusable(), &prompt).min(prompt.len() - 1);
            let kept = forget_after(&mut self.context, slot, keep);
            self.clock += 1;
            slot.last_used = self.clock;
            let limited = generation.request.max_reasoning_tokens.is_some();
            let end_of_reasoning = if limited { self.prompts.end_of_reasoning() } else { Vec::new() };
            slot.work = Some(Work::begin(generation, prompt, kept, reply, end_of_reasoning, self.limits));
        }
    }

    /// Fills the batch: a token of every answer, then pieces of prompts in turn.
    fn plan(&mut self) -> Vec<Piece> {
        self.batch.clear();
        let mut pieces: Vec<Piece> = Vec::new();
        let mut room = BATCH;
        for index in 0..self.slots.len() {
            if room > 0
                && let Some(token) = self.next_of(index)
            {
                pieces.push(Piece { slot: index, tokens: vec![token], logits: None });
                room -= 1;
            }
        }
        if self.abilities.shares {
            lend(&mut self.context, &mut self.slots);
        }
        let reads = |index: &usize| {
            let work = self.slots[*index].work.as_ref();
            work.is_some_and(|work| !work.unread().is_empty())
                && !(self.abilities.shares && should_wait(&self.slots, *index))
        };
        let count = self.slots.len();
        let reading: Vec<usize> =
            (0..count).map(|offset| (self.turn + offset) % count).filter(reads).collect();
        // Alone, a prompt takes the whole batch.
        let share = if reading.len() + pieces.len() > 1 || self.embedder.is_busy() { CHUNK } else { BATCH };
        for index in &reading {
            let Some(work) = &self.slots[*index].work else { continue };
            let count = work.unread().len().min(share).min(room);
            if count > 0 {
                pieces.push(Piece { slot: *index, tokens: work.unread()[..count].to_vec(), logits: None });
                room -= count;
            }
        }
        self.turn = (self.turn + 1) % count;
        for piece in &mut pieces {
            self.add(piece);
        }
        pieces
    }

    /// The token that a slot's answer goes on with, if its receiver and the context have room.
    fn next_of(&mut self, index: usize) -> Option<LlamaToken> {
        let slot = &mut self.slots[index];
        let work = slot.work.as_mut()?;
        let token = work.next()?;
        if !work.flush() {
            return None;
        }
        if slot.cached.len() < self.limits.context as usize {
            return Some(token);
        }
        let shifts = work.shifts();
        if shifts && make_room(&mut self.context, slot, self.limits.context as usize) {
            return Some(token);
        }
        slot.work.as_mut()?.end_full();
        None
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
                work.choose(self.model, &self.context, index, &self.marks);
            }
        }
    }

    fn fail_all(&mut self, error: &Error) {
        tracing::error!(%error, "a decode step failed; its requests end");
        self.context.clear_kv_cache();
        for slot in &mut self.slots {
            slot.cached.clear();
            slot.exact = usize::MAX;
            if let Some(work) = &mut slot.work {
                work.fail(error.clone());
            }
        }
    }
}
