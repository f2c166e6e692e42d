//! How quick each model has been, so that the time of the next question can be told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actionbooster_wire::runner::v1 as wire;

/// Share of the newest measurement.
const NEWEST: f64 = 0.3;
/// Bytes of a token of a prompt, about; only for the forecast.
const BYTES_OF_TOKEN: f64 = 4.0;

/// Measured speeds of all models since the agent started.
#[derive(Debug, Default)]
pub(crate) struct Speeds(Mutex<HashMap<String, Speed>>);

/// Smoothed measurements of one model.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Speed {
    load_s: f64,
    read_s_per_token: f64,
    write_s_per_token: f64,
    tokens_of_answer: f64,
}

impl Speeds {
    /// Notes how long a load took.
    pub(crate) fn loaded(&self, id: &str, took: Duration) {
        let seconds = took.as_secs_f64();
        self.lock()
            .entry(id.to_owned())
            .and_modify(|speed| speed.load_s = smooth(speed.load_s, seconds))
            .or_insert(Speed {
                load_s: seconds,
                read_s_per_token: 0.0,
                write_s_per_token: 0.0,
                tokens_of_answer: 0.0,
            });
    }

    /// Notes how long an answer took.
    pub(crate) fn answered(&self, id: &str, account: &wire::Finished) {
        let read = account.prompt_tokens.saturating_sub(account.cached_prompt_tokens);
        let per = |us: u64, tokens: u32| (tokens > 0).then(|| us as f64 / 1e6 / f64::from(tokens));
        let mut speeds = self.lock();
        let Some(speed) = speeds.get_mut(id) else { return };
        for (known, new) in [
            (&mut speed.read_s_per_token, per(account.prompt_us, read)),
            (&mut speed.write_s_per_token, per(account.generate_us, account.generated_tokens)),
            (&mut speed.tokens_of_answer, Some(f64::from(account.generated_tokens))),
        ] {
            if let Some(new) = new {
                *known = smooth(*known, new);
            }
        }
    }

    /// Seconds that an answer to a prompt of so many bytes will take, with the load unless it is `loaded`.
    /// Nothing for a model that was never asked.
    pub(crate) fn forecast(&self, id: &str, bytes: usize, most_tokens: u32, loaded: bool) -> Option<f64> {
        let speed = *self.lock().get(id)?;
        if speed.tokens_of_answer == 0.0 {
            return None;
        }
        let load = if loaded { 0.0 } else { speed.load_s };
        let read = bytes as f64 / BYTES_OF_TOKEN * speed.read_s_per_token;
        let write = speed.tokens_of_answer.min(f64::from(most_tokens)) * speed.write_s_per_token;
        Some(load + read + write)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Speed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn smooth(known: f64, new: f64) -> f64 {
    if known == 0.0 { new } else { known * (1.0 - NEWEST) + new * NEWEST }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_told_from_what_was_measured() {
        let speeds = Speeds::default();
        assert_eq!(speeds.forecast("m", 400, 100, true), None, "nothing is known");
        speeds.loaded("m", Duration::from_secs(3));
        assert_eq!(speeds.forecast("m", 400, 100, true), None, "it was never asked");
        let account = wire::Finished {
            prompt_tokens: 60,
            cached_prompt_tokens: 10,
            prompt_us: 1_000_000,
            generated_tokens: 50,
            generate_us: 5_000_000,
            ..wire::Finished::default()
        };
        speeds.answered("m", &account);
        // 100 tokens to read at 20 ms, 50 to write at 100 ms.
        let forecast = speeds.forecast("m", 400, 100, true).expect("known");
        assert!((forecast - 7.0).abs() < 1e-6, "{forecast}");
        let cut = speeds.forecast("m", 400, 10, false).expect("known");
        assert!((cut - 6.0).abs() < 1e-6, "{cut}");
    }
}
