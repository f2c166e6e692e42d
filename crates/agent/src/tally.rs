//! What became of each request, in metrics and in the log.

use std::time::Instant;

use actionbooster_wire::runner::v1 as wire;

use crate::ask::AskError;

/// Bytes of an error that reach the log at most.
const MOST_LOGGED: usize = 1024;

/// Counts one request, however it ends. One that is dropped was cancelled.
pub(crate) struct Tally {
    /// Empty until the model has been looked up: other names come from strangers and must not become labels.
    id: String,
    asked: Instant,
    spoke: bool,
    outcome: &'static str,
}

impl Tally {
    pub(crate) fn begin() -> Self {
        Self { id: String::new(), asked: Instant::now(), spoke: false, outcome: "cancelled" }
    }

    /// The model has been looked up.
    pub(crate) fn name(&mut self, id: &str) {
        id.clone_into(&mut self.id);
    }

    pub(crate) fn text(&mut self) {
        if !std::mem::replace(&mut self.spoke, true) {
            let elapsed = self.asked.elapsed().as_secs_f64();
            metrics::histogram!("time_to_first_token_seconds", "model" => self.id.clone()).record(elapsed);
        }
    }

    pub(crate) fn failed(&mut self, error: AskError) -> AskError {
        let (_, kind, _) = error.class();
        self.outcome = kind;
        let mut told = error.to_string();
        // What a model refuses, such as a schema, may be part of the text.
        told.truncate(told.floor_char_boundary(MOST_LOGGED));
        tracing::warn!(model = self.id, kind, "no answer: {told}");
        error
    }

    pub(crate) fn finished(&mut self, account: &wire::Finished) {
        self.outcome = "ok";
        metrics::counter!("prompt_tokens_total", "model" => self.id.clone())
            .increment(account.prompt_tokens.into());
        metrics::counter!("generated_tokens_total", "model" => self.id.clone())
            .increment(account.generated_tokens.into());
        tracing::info!(
            model = self.id,
            prompt_tokens = account.prompt_tokens,
            generated_tokens = account.generated_tokens,
            elapsed_ms = self.asked.elapsed().as_millis() as u64,
            "answered"
        );
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let model = std::mem::take(&mut self.id);
        metrics::counter!("model_requests_total", "model" => model, "outcome" => self.outcome).increment(1);
    }
}
