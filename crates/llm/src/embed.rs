//! Texts as vectors, in a context of their own that is made when needed and dropped when idle.
//!
//! Models made for embeddings say how the vectors of their tokens become one; models that write text do not,
//! and get the mean. Models that read in both directions need the whole text in one step; the others read it
//! in pieces, between the steps of answers.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{LlamaContextParams, LlamaPoolingType};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::oneshot;

use crate::Error;
use crate::options::Description;
use crate::request::Embeddings;

/// How long the context stays when nobody asks.
const KEEP: Duration = Duration::from_secs(60);
/// Tokens read in one step. llama.cpp computes the logits of all of them too: a large step takes much memory.
const STEP: usize = 64;
/// Smallest context, so that short texts do not make a new one each.
const SMALLEST: usize = 512;

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pooling {
    /// The mean of all.
    Mean,
    /// The last one's.
    Last,
    /// llama.cpp does it, as the file says, in one step.
    Whole,
    /// The file is made to compare two texts and has no vector.
    Rank,
}

/// One request: several texts.
struct Task {
    inputs: VecDeque<Vec<LlamaToken>>,
    /// How much of the first input was read.
    read: usize,
    sum: Vec<f64>,
    done: Embeddings,
    normalize: bool,
    reply: oneshot::Sender<Result<Embeddings, Error>>,
}

/// Makes embeddings step by step.
pub(crate) struct Embedder<'model> {
    backend: &'static LlamaBackend,
    model: &'model LlamaModel,
    parameters: LlamaContextParams,
    pooling: Pooling,
    /// Tokens of a text at most.
    longest: usize,
    context: Option<(LlamaContext<'model>, usize)>,
    tasks: VecDeque<Task>,
    used: Instant,
}

impl<'model> Embedder<'model> {
    pub(crate) fn new(
        backend: &'static LlamaBackend,
        model: &'model LlamaModel,
        parameters: LlamaContextParams,
        description: &Description,
        longest: usize,
    ) -> Self {
        let kind = model.meta_val_str(&format!("{}.pooling_type", description.architecture));
        let kind = kind.ok().and_then(|kind| kind.parse::<i32>().ok()).map(LlamaPoolingType::from);
        let pooling = match kind {
            Some(LlamaPoolingType::Rank) => Pooling::Rank,
            _ if !description.generates => Pooling::Whole,
            Some(LlamaPoolingType::Last) => Pooling::Last,
            _ => Pooling::Mean,
        };
        let (context, tasks, used) = (None, VecDeque::new(), Instant::now());
        Self { backend, model, parameters, pooling, longest, context, tasks, used }
    }

    /// Whether there is something to do.
    pub(crate) fn is_busy(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// How long until the context is dropped; nothing when there is none.
    pub(crate) fn idle_for(&self, now: Instant) -> Option<Duration> {
        self.context.as_ref().map(|_| time_left(self.used, now))
    }

    /// Takes a request, or refuses it at once.
    pub(crate) fn take(
        &mut self,
        inputs: &[String],
        normalize: bool,
        truncate: bool,
        reply: oneshot::Sender<Result<Embeddings, Error>>,
    ) {
        match self.read(inputs, truncate) {
            Ok(inputs) => {
                let tokens = inputs.iter().map(Vec::len).sum::<usize>() as u32;
                let done = Embeddings { vectors: Vec::with_capacity(inputs.len()), tokens };
                let task = Task { inputs, read: 0, sum: Vec::new(), done, normalize, reply };
                self.tasks.push_back(task);
            }
            Err(error) => {
                // Whoever asked may be gone.
                let _ = reply.send(Err(error));
            }
        }
    }

    fn read(&self, inputs: &[String], truncate: bool) -> Result<VecDeque<Vec<LlamaToken>>, Error> {
        if self.pooling == Pooling::Rank {
            return Err(Error::NoEmbeddings);
        }
        if inputs.is_empty() {
            return Err(Error::PromptEmpty);
        }
        let vocabulary = self.model.vocab();
        let mut read = VecDeque::with_capacity(inputs.len());
        for (number, input) in inputs.iter().enumerate() {
            let mut tokens = vocabulary.tokenize(input.as_bytes(), true, false);
            if truncate {
                tokens.truncate(self.longest);
            }
            if tokens.is_empty() {
                return Err(Error::PromptEmpty);
            }
            if tokens.len() > self.longest {
                return Err(Error::InputTooLong {
                    number: number + 1,
                    tokens: tokens.len(),
                    context: self.longest,
                });
            }
            read.push_back(tokens);
        }
        Ok(read)
    }

    /// Reads a piece of the first text, or drops the context when nobody needed it for a while.
    pub(crate) fn step(&mut self) {
        while self.tasks.front().is_some_and(|task| task.reply.is_closed()) {
            self.tasks.pop_front();
            self.forget();
        }
        let Some(mut task) = self.tasks.pop_front() else {
            if self.context.is_some() && time_left(self.used, Instant::now()).is_zero() {
                self.context = None;
            }
            return;
        };
        self.used = Instant::now();
        match self.advance(&mut task) {
            Ok(()) if task.inputs.is_empty() => {
                let _ = task.reply.send(Ok(task.done));
            }
            Ok(()) => self.tasks.push_front(task),
            Err(error) => {
                self.forget();
                let _ = task.reply.send(Err(error));
            }
        }
    }

    fn forget(&mut self) {
        if let Some((context, _)) = &mut self.context {
            context.clear_kv_cache();
        }
    }

    fn advance(&mut self, task: &mut Task) -> Result<(), Error> {
        let Some(input) = task.inputs.front() else { return Ok(()) };
        let pooling = self.pooling;
        let step = if pooling == Pooling::Whole { input.len() } else { STEP };
        let piece = &input[task.read..input.len().min(task.read + step)];
        let ends = task.read + piece.len() == input.len();
        let context = self.context_for(input.len())?;
        let mut batch = LlamaBatch::new(piece.len(), 1);
        for (offset, token) in piece.iter().enumerate() {
            let position = i32::try_from(task.read + offset).unwrap_or(i32::MAX);
            let wanted = pooling != Pooling::Last || (ends && offset + 1 == piece.len());
            batch.add(*token, position, &[0], wanted).map_err(failed)?;
        }
        context.decode(&mut batch).map_err(failed)?;
        match pooling {
            Pooling::Mean => {
                task.sum.resize(context.embeddings_ith(0).map_err(failed)?.len(), 0.0);
                for index in 0..batch.n_tokens() {
                    let vector = context.embeddings_ith(index).map_err(failed)?;
                    task.sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
                }
            }
            Pooling::Last if ends => {
                let vector = context.embeddings_ith(batch.n_tokens() - 1).map_err(failed)?;
                task.sum = vector.iter().copied().map(f64::from).collect();
            }
            Pooling::Whole => {
                let vector = context.embeddings_seq_ith(0).map_err(failed)?;
                task.sum = vector.iter().copied().map(f64::from).collect();
            }
            Pooling::Last | Pooling::Rank => {}
        }
        task.read += piece.len();
        if ends {
            let count = if pooling == Pooling::Mean { input.len() as f64 } else { 1.0 };
            let sum = std::mem::take(&mut task.sum);
            task.done.vectors.push(finish(&sum, count, task.normalize));
            task.inputs.pop_front();
            task.read = 0;
            self.forget();
        }
        Ok(())
    }

    /// The context, large enough for a text of this many tokens.
    fn context_for(&mut self, tokens: usize) -> Result<&mut LlamaContext<'model>, Error> {
        if self.context.as_ref().is_none_or(|(_, size)| *size < tokens) {
            // The old one goes first: there may be no memory for both.
            self.context = None;
            let size = tokens.next_power_of_two().max(SMALLEST).min(self.longest.max(tokens));
            let whole = self.pooling == Pooling::Whole;
            let step = if whole { size } else { STEP } as u32;
            let pooling = if whole { LlamaPoolingType::Unspecified } else { LlamaPoolingType::None };
            let parameters = self
                .parameters
                .clone()
                .with_n_ctx(NonZeroU32::new(size as u32))
                .with_n_batch(step)
                .with_n_ubatch(step)
                .with_n_seq_max(1)
                .with_embeddings(true)
                .with_pooling_type(pooling);
            let made = self.model.new_context(self.backend, parameters);
            let context = made.map_err(|error| Error::Context {
                context: size as u32,
                slots: 1,
                reason: error.to_string(),
            })?;
            self.context = Some((context, size));
        }
        self.context.as_mut().map(|(context, _)| context).ok_or(Error::Stopped)
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Decode(error.to_string())
}

fn time_left(used: Instant, now: Instant) -> Duration {
    KEEP.saturating_sub(now.saturating_duration_since(used))
}

/// The mean, of length 1 when wanted. A vector of zeros has no direction and stays.
fn finish(sum: &[f64], count: f64, normalize: bool) -> Vec<f32> {
    let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
    let divisor = if normalize && length > 0.0 { length } else { count };
    sum.iter().map(|value| (value / divisor) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_means_or_have_length_one() {
        assert_eq!(finish(&[6.0, 8.0], 2.0, false), [3.0, 4.0]);
        assert_eq!(finish(&[6.0, 8.0], 2.0, true), [0.6, 0.8]);
        assert_eq!(finish(&[0.0, 0.0], 2.0, true), [0.0, 0.0]);
    }

    #[test]
    fn the_context_is_dropped_a_minute_after_its_last_use() {
        let used = Instant::now();
        assert_eq!(time_left(used, used), KEEP);
        assert_eq!(time_left(used, used + Duration::from_secs(59)), Duration::from_secs(1));
        assert!(time_left(used, used + Duration::from_secs(61)).is_zero());
    }
}
