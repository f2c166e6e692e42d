//! How quick each model has been, so that the time of the next answer can be estimated.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actionbooster_wire::runner::v1 as wire;

/// Share of the newest measurement.
const NEWEST: f64 = 0.3;
/// Bytes of a token of a prompt, about; only for the estimate.
const BYTES_OF_TOKEN: f64 = 4.0;

/// How many times longer or shorter than estimated a query can be taken to be.
const MOST_CORRECTION: f64 = 8.0;

/// Estimates the latency of answers from what was measured since the program started.
#[derive(Debug, Default)]
pub struct LatencyEstimator {
    latencies: Mutex<HashMap<String, Latency>>,
    /// Logarithm of how many times longer than estimated queries took, smoothed.
    error: Mutex<f64>,
}

/// Smoothed measurements of one model.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Latency {
    load_s: f64,
    read_s_per_token: f64,
    write_s_per_token: f64,
    tokens_of_answer: f64,
}

impl LatencyEstimator {
    /// Notes how long a load took.
    pub fn record_load(&self, id: &str, took: Duration) {
        let seconds = took.as_secs_f64();
        self.lock()
            .entry(id.to_owned())
            .and_modify(|known| known.load_s = smooth(known.load_s, seconds))
            .or_insert(Latency {
                load_s: seconds,
                read_s_per_token: 0.0,
                write_s_per_token: 0.0,
                tokens_of_answer: 0.0,
            });
    }

    /// Notes how long an answer took, as the engine accounts for it.
    pub fn record_answer(&self, id: &str, account: &wire::Finished) {
        let read = account.prompt_tokens.saturating_sub(account.cached_prompt_tokens);
        let per = |us: u64, tokens: u32| (tokens > 0).then(|| us as f64 / 1e6 / f64::from(tokens));
        let mut latencies = self.lock();
        let Some(latency) = latencies.get_mut(id) else { return };
        for (known, new) in [
            (&mut latency.read_s_per_token, per(account.prompt_us, read)),
            (&mut latency.write_s_per_token, per(account.generate_us, account.generated_tokens)),
            (&mut latency.tokens_of_answer, Some(f64::from(account.generated_tokens))),
        ] {
            if let Some(new) = new {
                *known = smooth(*known, new);
            }
        }
    }

    /// Notes how long a query to several models took that was estimated, before any correction, at so many seconds.
    ///
    /// What it learns is whatever the sum of single answers does not know: waiting, memory, models that slow each
    /// other down, longer answers.
    pub fn record_query(&self, estimate_s: Option<f64>, took: Duration) {
        let Some(estimate) = estimate_s.filter(|seconds| *seconds > 0.0) else { return };
        let times = (took.as_secs_f64() / estimate).clamp(1.0 / MOST_CORRECTION, MOST_CORRECTION);
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        *error = *error * (1.0 - NEWEST) + times.ln() * NEWEST;
    }

    /// How many times longer than estimated queries to several models take.
    pub fn correction(&self) -> f64 {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).exp()
    }

    /// Bytes of a usual answer, about; 0 for a model that was never asked.
    pub fn answer_bytes(&self, id: &str) -> usize {
        self.lock().get(id).map_or(0, |latency| (latency.tokens_of_answer * BYTES_OF_TOKEN) as usize)
    }

    /// Seconds that an answer to a prompt of so many bytes will take, with the load unless it is `loaded`.
    /// Nothing for a model that was never asked.
    pub fn estimate(&self, id: &str, bytes: usize, most_tokens: u32, loaded: bool) -> Option<f64> {
        let latency = *self.lock().get(id)?;
        if latency.tokens_of_answer == 0.0 {
            return None;
        }
        let load = if loaded { 0.0 } else { latency.load_s };
        let read = bytes as f64 / BYTES_OF_TOKEN * latency.read_s_per_token;
        let write = latency.tokens_of_answer.min(f64::from(most_tokens)) * latency.write_s_per_token;
        Some(load + read + write)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Latency>> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn smooth(known: f64, new: f64) -> f64 {
    if known == 0.0 { new } else { known * (1.0 - NEWEST) + new * NEWEST }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_estimated_from_what_was_measured() {
        let latency = LatencyEstimator::default();
        assert_eq!(latency.estimate("m", 400, 100, true), None, "nothing is known");
        latency.record_load("m", Duration::from_secs(3));
        assert_eq!(latency.estimate("m", 400, 100, true), None, "it was never asked");
        let account = wire::Finished {
            prompt_tokens: 60,
            cached_prompt_tokens: 10,
            prompt_us: 1_000_000,
            generated_tokens: 50,
            generate_us: 5_000_000,
            ..wire::Finished::default()
        };
        latency.record_answer("m", &account);
        // 100 tokens to read at 20 ms, 50 to write at 100 ms.
        let whole = latency.estimate("m", 400, 100, true).expect("known");
        assert!((whole - 7.0).abs() < 1e-6, "{whole}");
        let cut = latency.estimate("m", 400, 10, false).expect("known");
        assert!((cut - 6.0).abs() < 1e-6, "{cut}");
        assert_eq!((latency.answer_bytes("m"), latency.answer_bytes("other")), (200, 0));
    }

    #[test]
    fn queries_that_always_take_longer_are_told_to_take_longer() {
        let latency = LatencyEstimator::default();
        assert!((latency.correction() - 1.0).abs() < 1e-9);
        latency.record_query(None, Duration::from_secs(9));
        for _ in 0..20 {
            latency.record_query(Some(2.0), Duration::from_secs(6));
        }
        assert!((latency.correction() - 3.0).abs() < 0.01, "{}", latency.correction());
        latency.record_query(Some(0.001), Duration::from_secs(600));
        assert!(latency.correction() < 4.1, "one that hung changes little: {}", latency.correction());
    }
}
