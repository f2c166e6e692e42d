//! How the next token is chosen.

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;
use llama_cpp_2::token::logit_bias::LlamaLogitBias;

use crate::{Error, Grammar};

/// How many of the last tokens the penalties look at.
const PENALTY_WINDOW: i32 = 64;
/// A bias of this and less forbids the token, as clients of the OpenAI API expect.
const FORBIDDING_BIAS: f32 = -100.0;

/// Parameters of the choice. The defaults are greedy: the most likely token, always.
#[derive(Debug, Clone, PartialEq)]
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
    /// Added to the logits of these tokens before anything else; -100 and less forbids a token.
    pub logit_bias: Vec<(i32, f32)>,
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
            logit_bias: Vec::new(),
        }
    }
}

impl Sampling {
    /// Refuses biases for tokens that do not exist and biases that are no numbers.
    pub(crate) fn check(&self, vocabulary: i32) -> Result<(), Error> {
        match self.logit_bias.iter().find(|(token, bias)| !(0..vocabulary).contains(token) || bias.is_nan()) {
            Some((token, _)) => Err(Error::LogitBias { token: *token, vocabulary }),
            None => Ok(()),
        }
    }

    /// Whether tokens that were said already are less likely.
    fn penalises(&self) -> bool {
        (self.repeat_penalty - 1.0).abs() > f32::EPSILON
            || self.frequency_penalty.abs() > f32::EPSILON
            || self.presence_penalty.abs() > f32::EPSILON
    }

    /// The chain in the order llama.cpp recommends: bias, penalties, truncation, temperature, choice.
    fn chain(&self, vocabulary: i32) -> LlamaSampler {
        let mut chain = Vec::new();
        if !self.logit_bias.is_empty() {
            let biases: Vec<LlamaLogitBias> = self.logit_bias.iter().copied().map(bias).collect();
            chain.push(LlamaSampler::logit_bias(vocabulary, &biases));
        }
        if self.penalises() {
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

/// The index of the greatest logit; the first of equals.
///
/// Written in lanes, which the compiler turns into vector instructions: there are up to 150,000 logits.
fn greatest(logits: &[f32]) -> usize {
    const LANES: usize = 16;
    let mut most = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (most, logit) in most.iter_mut().zip(chunk) {
            *most = if *logit > *most { *logit } else { *most };
        }
    }
    let most = most
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |most, logit| if *logit > most { *logit } else { most });
    logits.iter().position(|logit| *logit >= most).unwrap_or(0)
}

fn bias((token, bias): (i32, f32)) -> LlamaLogitBias {
    let bias = if bias <= FORBIDDING_BIAS { f32::NEG_INFINITY } else { bias };
    LlamaLogitBias::new(LlamaToken(token), bias)
}

fn any_seed() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u32
}

/// The choice of one request's tokens: what its grammar allows, then its sampling parameters.
pub(crate) struct Chooser {
    chain: LlamaSampler,
    grammar: Option<Grammar>,
    /// Nothing changes the logits and the greatest wins. llama.cpp would copy the whole vocabulary for that.
    plain: bool,
}

impl Chooser {
    pub(crate) fn new(sampling: &Sampling, grammar: Option<Grammar>, vocabulary: i32) -> Self {
        let plain = grammar.is_none()
            && sampling.temperature <= 0.0
            && sampling.logit_bias.is_empty()
            && !sampling.penalises();
        Self { chain: sampling.chain(vocabulary), grammar, plain }
    }

    /// The next token, from the logits at `index` of the last batch. The end-of-text token may be chosen too.
    pub(crate) fn choose(&mut self, context: &LlamaContext, index: i32) -> Result<LlamaToken, Error> {
        if self.plain {
            let greatest = greatest(context.get_logits_ith(index));
            return Ok(LlamaToken(i32::try_from(greatest).unwrap_or(i32::MAX)));
        }
        let Some(grammar) = &mut self.grammar else {
            // `sample` accepts the token by itself; accepting it again would count it twice.
            return Ok(self.chain.sample(context, index));
        };
        // The grammar works outside the chain: llama.cpp's own aborts the process when a token does not fit.
        let allowed = grammar.allowed()?;
        let fits = |data: &LlamaTokenData| allowed.is_allowed(data.id().0.cast_unsigned());
        let candidates = context.candidates_ith(index).filter(fits);
        let mut candidates = LlamaTokenDataArray::from_iter(candidates, false);
        self.chain.apply(&mut candidates);
        let token = candidates.selected_token().ok_or_else(|| {
            Error::Format("at some point no token fits; allow more, or another shape".to_owned())
        })?;
        self.chain.accept(token);
        grammar.take(token)?;
        Ok(token)
    }

    /// Takes a token that was not chosen as if it had been.
    pub(crate) fn take(&mut self, token: LlamaToken) -> Result<(), Error> {
        self.chain.accept(token);
        self.grammar.as_mut().map_or(Ok(()), |grammar| grammar.take(token))
    }

    /// Whether the wanted shape is complete and nothing may follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.grammar.as_ref().is_some_and(Grammar::is_complete)
    }
}

#[cfg(test)]
mod tests {
    use super::greatest;

    #[test]
    fn the_first_of_the_greatest_is_found_wherever_it_is() {
        for length in [1, 15, 16, 17, 40, 1000] {
            for place in [0, length / 2, length - 1] {
                let mut logits = vec![-1.0_f32; length];
                logits[place] = 3.5;
                assert_eq!(greatest(&logits), place, "{place} of {length}");
            }
        }
        assert_eq!(greatest(&[1.0, 2.0, 2.0]), 1);
        assert_eq!(greatest(&[f32::NAN, 1.0]), 1);
        assert_eq!(greatest(&[f32::NEG_INFINITY; 20]), 0);
    }
}
