//! One sequence of the context: what it still remembers, and the request it works on.

use std::collections::VecDeque;
use std::time::Instant;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::Error;
use crate::request::{Event, Finished, Job, Reason};
use crate::text::TextStream;

/// A sequence number of the context, with the tokens its memory holds.
pub(crate) struct Slot {
    pub(crate) sequence: i32,
    pub(crate) cached: Vec<LlamaToken>,
    pub(crate) work: Option<Work>,
    pub(crate) last_used: u64,
}

/// A request that a slot works on.
pub(crate) struct Work {
    prompt: Vec<LlamaToken>,
    /// Tokens of the prompt in memory.
    read: usize,
    reused: usize,
    /// The token to decode next, once the prompt is read.
    next: Option<LlamaToken>,
    sampler: LlamaSampler,
    text: TextStream,
    generated: u32,
    limit: u32,
    events: mpsc::Sender<Event>,
    /// What could not be sent yet because the receiver is slow. Short: a slot with something here pauses.
    unsent: VecDeque<Event>,
    started: Instant,
    prompt_read: Option<Instant>,
    finished: bool,
}

impl Work {
    /// Begins with a prompt of which `reused` tokens are in memory already.
    pub(crate) fn begin(
        job: Job,
        prompt: Vec<LlamaToken>,
        reused: usize,
        context: u32,
        vocabulary: i32,
    ) -> Self {
        let room = context.saturating_sub(prompt.len() as u32);
        let wanted = if job.request.max_tokens == 0 { room } else { job.request.max_tokens };
        Self {
            read: reused,
            reused,
            prompt,
            next: None,
            sampler: job.request.sampling.chain(vocabulary),
            text: TextStream::new(job.request.stop),
            generated: 0,
            limit: wanted.min(room),
            events: job.events,
            unsent: VecDeque::new(),
            started: Instant::now(),
            prompt_read: None,
            finished: false,
        }
    }

    /// Whether nobody listens any more, or everything was said.
    pub(crate) fn is_over(&self) -> bool {
        self.events.is_closed() || (self.finished && self.unsent.is_empty())
    }

    /// Tries again to hand over what the receiver had no room for.
    ///
    /// Returns whether the request can go on.
    pub(crate) fn flush(&mut self) -> bool {
        while let Some(event) = self.unsent.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.unsent.push_front(event);
                    break;
                }
                Err(TrySendError::Closed(_)) => self.unsent.clear(),
            }
        }
        self.unsent.is_empty() && !self.finished
    }

    /// The token to decode next, if the prompt is read.
    pub(crate) const fn next(&self) -> Option<LlamaToken> {
        self.next
    }

    /// The part of the prompt that is still to be read.
    pub(crate) fn unread(&self) -> &[LlamaToken] {
        &self.prompt[self.read..]
    }

    /// Notes that `count` more tokens of the prompt are in memory.
    pub(crate) fn advance(&mut self, count: usize) {
        self.read += count;
        if self.read == self.prompt.len() {
            self.prompt_read = Some(Instant::now());
        }
    }

    /// Chooses the next token from the logits at `index` of the last batch and sends its text.
    pub(crate) fn choose(
        &mut self,
        model: &LlamaModel,
        context: &llama_cpp_2::context::LlamaContext,
        index: i32,
    ) {
        // `sample` accepts the token by itself; accepting it again would count it twice.
        let token = self.sampler.sample(context, index);
        let vocabulary = model.vocab();
        if vocabulary.is_eog(token) {
            self.finish(Reason::End);
            return;
        }
        self.generated += 1;
        self.next = Some(token);
        let text = self.text.push(&vocabulary.token_to_piece(token, false, None));
        if !text.is_empty() {
            self.send(Event::Text(text));
        }
        if self.text.stopped() {
            self.finish(Reason::Stop);
        } else if self.generated >= self.limit {
            self.finish(Reason::Length);
        }
    }

    /// Ends the request with an error.
    pub(crate) fn fail(&mut self, error: Error) {
        self.finished = true;
        self.send(Event::Failed(error));
    }

    fn finish(&mut self, reason: Reason) {
        self.finished = true;
        self.next = None;
        let rest = std::mem::replace(&mut self.text, TextStream::new([])).finish();
        let read_at = self.prompt_read.unwrap_or(self.started);
        let account = Finished {
            reason,
            prompt_tokens: self.prompt.len() as u32,
            reused_tokens: self.reused as u32,
            generated_tokens: self.generated,
            prompt_us: read_at.duration_since(self.started).as_micros() as u64,
            generate_us: read_at.elapsed().as_micros() as u64,
        };
        if !rest.is_empty() {
            self.send(Event::Text(rest));
        }
        self.send(Event::Finished(account));
    }

    /// Sends without waiting: the thread serves other requests too.
    fn send(&mut self, event: Event) {
        self.unsent.push_back(event);
        self.flush();
    }
}

/// How many tokens two sequences have in common at their beginning.
pub(crate) fn common_prefix(left: &[LlamaToken], right: &[LlamaToken]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

#[cfg(test)]
mod tests {
    use super::common_prefix;
    use llama_cpp_2::token::LlamaToken;

    #[test]
    fn the_common_prefix_ends_at_the_first_difference() {
        let tokens = |ids: &[i32]| ids.iter().copied().map(LlamaToken).collect::<Vec<_>>();
        for (left, right, expected) in
            [(&[1, 2, 3][..], &[1, 2, 4][..], 2), (&[], &[1], 0), (&[1, 2], &[1, 2], 2), (&[2], &[1], 0)]
        {
            assert_eq!(common_prefix(&tokens(left), &tokens(right)), expected);
        }
    }
}
