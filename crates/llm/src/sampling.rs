//! How the next token is chosen.

use llama_cpp_2::sampling::LlamaSampler;

/// How many of the last tokens the penalties look at.
const PENALTY_WINDOW: i32 = 64;

/// Parameters of the choice. The defaults are greedy: the most likely token, always.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    /// Keep the most likely tokens that together have this probability; 1 keeps all.
    pub top_p: f32,
    /// Keep this many tokens; 0 keeps all.
    pub top_k: u32,
    /// Drop tokens less likely than this share of the best one; 0 drops none.
    pub min_p: f32,
    /// 1 is none.
    pub repeat_penalty: f32,
    /// 0 is none.
    pub frequency_penalty: f32,
    /// 0 is none.
    pub presence_penalty: f32,
    /// Same seed, same text. Without one every answer differs.
    pub seed: Option<u32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: None,
        }
    }
}

impl Sampling {
    /// The chain in the order llama.cpp recommends: penalties, truncation, temperature, choice.
    pub(crate) fn chain(&self, vocabulary: i32) -> LlamaSampler {
        let mut chain = Vec::new();
        let penalised = (self.repeat_penalty - 1.0).abs() > f32::EPSILON
            || self.frequency_penalty.abs() > f32::EPSILON
            || self.presence_penalty.abs() > f32::EPSILON;
        if penalised {
            chain.push(LlamaSampler::penalties(
                vocabulary,
                PENALTY_WINDOW,
                self.repeat_penalty,
                self.frequency_penalty,
                self.presence_penalty,
            ));
        }
        if self.temperature <= 0.0 {
            chain.push(LlamaSampler::greedy());
            return LlamaSampler::chain_simple(chain);
        }
        if self.top_k > 0 {
            chain.push(LlamaSampler::top_k(i32::try_from(self.top_k).unwrap_or(i32::MAX)));
        }
        if self.top_p < 1.0 {
            chain.push(LlamaSampler::top_p(self.top_p, 1));
        }
        if self.min_p > 0.0 {
            chain.push(LlamaSampler::min_p(self.min_p, 1));
        }
        chain.push(LlamaSampler::temp(self.temperature));
        chain.push(LlamaSampler::dist(self.seed.unwrap_or_else(any_seed)));
        LlamaSampler::chain_simple(chain)
    }
}

fn any_seed() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u32
}
