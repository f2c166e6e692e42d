//! One sequence of the context: what it still remembers, and the request it works on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::Error;
use crate::logprobs::{best, logprob, normalizer};
use crate::reply::{Part, Reply};
use crate::request::{
    Candidate, ContextFull, Event, Finished, Generation, MOST_ALTERNATIVES, Reason, Text, TokenLogprob,
};
use crate::sampling::Chooser;
use crate::text::TextStream;

/// A sequence number of the context, with the tokens its memory holds.
pub(crate) struct Slot {
    pub(crate) sequence: i32,
    pub(crate) cached: Vec<LlamaToken>,
    /// How many of `cached` are what the model would remember had it read just them. After a shift
    /// only the first ones are: the others were read after tokens that are forgotten now.
    pub(crate) exact: usize,
    pub(crate) work: Option<Work>,
    pub(crate) last_used: u64,
}

impl Slot {
    pub(crate) fn new(sequence: i32) -> Self {
        Self { sequence, cached: Vec::new(), exact: usize::MAX, work: None, last_used: 0 }
    }

    /// The tokens in memory that a request may build on.
    pub(crate) fn reusable(&self) -> &[LlamaToken] {
        &self.cached[..self.cached.len().min(self.exact)]
    }
}

/// What bounds every answer of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Tokens of context.
    pub(crate) context: u32,
    /// Tokens the model knows.
    pub(crate) vocabulary: i32,
    /// Whether the context's memory can move when it is full.
    pub(crate) moves: bool,
    /// Tokens of one answer at most; 0 is no limit but the context's.
    pub(crate) answer_tokens: u32,
    /// How long one request may hold its place; zero is no limit.
    pub(crate) answer_time: Duration,
}

/// A request that a slot works on.
pub(crate) struct Work {
    prompt: Vec<LlamaToken>,
    /// Tokens of the prompt in memory.
    read: usize,
    reused: usize,
    /// The token to decode next, once the prompt is read.
    next: Option<LlamaToken>,
    chooser: Chooser,
    text: TextStream,
    reply: Option<Reply>,
    /// How many alternatives are told with every token, if tokens are told.
    alternatives: Option<usize>,
    /// Tokens whose text was not sent yet, each with the number of the byte it begins at.
    untold: VecDeque<(usize, TokenLogprob)>,
    bytes: usize,
    /// Told tokens whose text is held back because it may be the beginning of a mark.
    held_logprobs: Vec<TokenLogprob>,
    generated: u32,
    /// Tokens of it that were thoughts, and how many there may be.
    reasoned: u32,
    reasoning_limit: u32,
    /// What closes thoughts, until that has happened.
    end_of_reasoning: Vec<LlamaToken>,
    /// Tokens that come next whatever the model would say.
    forced: VecDeque<LlamaToken>,
    limit: u32,
    /// When it ends, whatever is said by then.
    deadline: Option<Instant>,
    shifts: bool,
    events: mpsc::Sender<Event>,
    /// What could not be sent yet because the receiver is slow. Short: a slot with something here pauses.
    unsent: VecDeque<Event>,
    started: Instant,
    prompt_read: Option<Instant>,
    finished: bool,
}

impl Work {
    /// Begins with a prompt of which `reused` tokens are in memory already.
    ///
    /// `reply` takes the answer apart; without it, the answer is told as it is. `end_of_reasoning` closes thoughts
    /// that grow too long.
    pub(crate) fn begin(
        job: Generation,
        prompt: Vec<LlamaToken>,
        reused: usize,
        reply: Option<Reply>,
        end_of_reasoning: Vec<LlamaToken>,
        limits: Limits,
    ) -> Self {
        let Limits { context, vocabulary, moves, answer_tokens, answer_time } = limits;
        let request = job.request;
        let shifts = moves && request.context_full == ContextFull::Shift;
        let room = if shifts { u32::MAX } else { context.saturating_sub(prompt.len() as u32) };
        let bounds = [request.max_tokens, answer_tokens].into_iter().filter(|tokens| *tokens > 0);
        let started = Instant::now();
        Self {
            read: reused,
            reused,
            prompt,
            next: None,
            chooser: Chooser::new(&request.sampling, request.grammar, vocabulary),
            text: TextStream::new(request.stop),
            reply,
            alternatives: request.logprobs.map(|count| count.min(MOST_ALTERNATIVES) as usize),
            untold: VecDeque::new(),
            bytes: 0,
            held_logprobs: Vec::new(),
            generated: 0,
            reasoned: 0,
            reasoning_limit: request.max_reasoning_tokens.unwrap_or(u32::MAX),
            end_of_reasoning,
            forced: VecDeque::new(),
            limit: bounds.min().unwrap_or(room).min(room),
            deadline: Some(answer_time).filter(|time| !time.is_zero()).map(|time| started + time),
            shifts,
            events: job.events,
            unsent: VecDeque::new(),
            started,
            prompt_read: None,
            finished: false,
        }
    }

    /// Whether nobody listens any more, or everything was said.
    pub(crate) fn is_over(&self) -> bool {
        self.events.is_closed() || (self.finished && self.unsent.is_empty())
    }

    /// Whether it has had the time that one request may take.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
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

    /// Whether the oldest part of the context may be forgotten for more of the answer.
    pub(crate) const fn shifts(&self) -> bool {
        self.shifts
    }

    /// The whole prompt.
    pub(crate) fn prompt(&self) -> &[LlamaToken] {
        &self.prompt
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
        } else {
            self.send(Event::Read(self.read as u32));
        }
    }

    /// Notes that `count` more tokens of the prompt were taken over from another slot.
    pub(crate) const fn take_over(&mut self, count: usize) {
        self.read += count;
        self.reused += count;
    }

    /// Chooses the next token from the logits at `index` of the last batch and sends its text.
    ///
    /// `marks` are tokens whose text counts although the file may call them special.
    pub(crate) fn choose(
        &mut self,
        model: &LlamaModel,
        context: &LlamaContext,
        index: i32,
        marks: &[LlamaToken],
    ) {
        let reasons = self.reply.as_ref().is_some_and(Reply::is_reasoning);
        if reasons && self.reasoned >= self.reasoning_limit {
            self.forced.extend(std::mem::take(&mut self.end_of_reasoning));
        }
        let chosen = match self.forced.pop_front() {
            Some(token) => self.chooser.take(token).map(|()| token),
            None => self.chooser.choose(context, index),
        };
        let token = match chosen {
            Ok(token) => token,
            Err(error) => return self.fail(error),
        };
        let vocabulary = model.vocab();
        if vocabulary.is_eog(token) {
            self.finish(Reason::End);
            return;
        }
        self.generated += 1;
        self.reasoned += u32::from(reasons);
        self.next = Some(token);
        let shown = self.reply.is_some() && marks.contains(&token);
        let piece = vocabulary.token_to_piece(token, shown, None);
        if let Some(count) = self.alternatives {
            let told = tell(model, context.get_logits_ith(index), token, count);
            self.untold.push_back((self.bytes, told));
        }
        self.bytes += piece.len();
        let text = self.text.push(&piece);
        if !text.is_empty() {
            let logprobs = self.tell_until(self.text.settled());
            self.say(text, logprobs);
        }
        if self.text.stopped().is_some() {
            self.finish(Reason::Stop);
        } else if self.chooser.is_complete() {
            self.finish(Reason::End);
        } else if self.generated >= self.limit || self.is_late() {
            self.finish(Reason::Length);
        }
    }

    /// The context is full and cannot move.
    pub(crate) fn end_full(&mut self) {
        self.finish(Reason::Length);
    }

    /// Ends the request with an error.
    pub(crate) fn fail(&mut self, error: Error) {
        self.finished = true;
        self.next = None;
        self.send(Event::Failed(error));
    }

    fn finish(&mut self, reason: Reason) {
        self.finished = true;
        self.next = None;
        let stop = self.text.stopped().map(str::to_owned);
        let end = if stop.is_some() { self.text.settled() } else { usize::MAX };
        let text = std::mem::replace(&mut self.text, TextStream::new([])).finish();
        let logprobs = self.tell_until(end);
        let read_at = self.prompt_read.unwrap_or(self.started);
        let account = Finished {
            reason,
            stop,
            prompt_tokens: self.prompt.len() as u32,
            reused_tokens: self.reused as u32,
            generated_tokens: self.generated,
            reasoning_tokens: self.reasoned,
            prompt_us: read_at.duration_since(self.started).as_micros() as u64,
            generate_us: read_at.elapsed().as_micros() as u64,
        };
        if !text.is_empty() || !logprobs.is_empty() {
            self.say(text, logprobs);
        }
        if let Some(reply) = self.reply.take() {
            let parts = reply.finish(reason == Reason::Length);
            self.send_parts(parts, Vec::new());
        }
        self.send(Event::Finished(account));
    }

    /// Sends more of the answer, taken apart if that was wanted.
    fn say(&mut self, text: String, logprobs: Vec<TokenLogprob>) {
        match &mut self.reply {
            Some(reply) => {
                let parts = reply.push(&text);
                self.send_parts(parts, logprobs);
            }
            None => self.send(Event::Text(Text { text, logprobs })),
        }
    }

    fn send_parts(&mut self, parts: Vec<Part>, logprobs: Vec<TokenLogprob>) {
        self.held_logprobs.extend(logprobs);
        for part in parts {
            // Only what is said has probabilities; those of thoughts and calls are dropped.
            let logprobs = std::mem::take(&mut self.held_logprobs);
            self.send(match part {
                Part::Text(text) => Event::Text(Text { text, logprobs }),
                Part::Reasoning(text) => Event::Reasoning(text),
                Part::Call(call) => Event::Call(call),
            });
        }
    }

    /// Takes the tokens that begin before this byte of the answer.
    fn tell_until(&mut self, end: usize) -> Vec<TokenLogprob> {
        let count = self.untold.partition_point(|(begin, _)| *begin < end);
        self.untold.drain(..count).map(|(_, told)| told).collect()
    }

    /// Sends without waiting: the thread serves other requests too.
    fn send(&mut self, event: Event) {
        self.unsent.push_back(event);
        self.flush();
    }
}

/// A token with its probability and its best alternatives.
fn tell(model: &LlamaModel, logits: &[f32], token: LlamaToken, alternatives: usize) -> TokenLogprob {
    let vocabulary = model.vocab();
    let all = normalizer(logits);
    let candidate = |index: usize| {
        let id = LlamaToken(i32::try_from(index).unwrap_or(i32::MAX));
        let told = logits.get(index).map_or(f32::NEG_INFINITY, |logit| logprob(*logit, all));
        Candidate { bytes: vocabulary.token_to_piece(id, true, None), logprob: told }
    };
    TokenLogprob {
        chosen: candidate(usize::try_from(token.0).unwrap_or(usize::MAX)),
        alternatives: best(logits, alternatives).into_iter().map(candidate).collect(),
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
