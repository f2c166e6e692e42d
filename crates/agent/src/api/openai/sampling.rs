//! The fields that chat and text completions share: how tokens are chosen and when an answer ends.

use std::collections::BTreeMap;

use actionbooster_chassis::Problem;
use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::generate_request::{Format, Input};
use serde::Deserialize;

use crate::api::lenient::Integer;
use crate::api::validation::{self, invalid, within};

/// Tokens with a bias at most.
const MOST_BIASES: usize = 1024;

/// Fields of both kinds of requests. Those after `logit_bias` are not OpenAI's; llama.cpp's server knows them too.
#[derive(Deserialize)]
pub(super) struct SamplingFields {
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    max_tokens: Option<Integer>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    seed: Option<Integer>,
    stop: Option<Stop>,
    logit_bias: Option<BTreeMap<String, f32>>,
    top_k: Option<Integer>,
    min_p: Option<f32>,
    repeat_penalty: Option<f32>,
    /// GBNF or Lark.
    grammar: Option<String>,
    /// What happens at the end of the context.
    context_full: Option<ContextFull>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum ContextFull {
    Error,
    Shift,
}

impl SamplingFields {
    /// A checked request to the runner, about this input.
    pub(super) fn generation(&self, input: Input) -> Result<wire::GenerateRequest, Problem> {
        let stops = match &self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop.clone()],
            Some(Stop::Several(stops)) => stops.clone(),
        };
        let context_full = match self.context_full {
            Some(ContextFull::Shift) => wire::ContextFull::Shift,
            Some(ContextFull::Error) | None => wire::ContextFull::Error,
        };
        Ok(wire::GenerateRequest {
            input: Some(input),
            sampling: Some(self.sampling()?),
            max_tokens: self.max_tokens()?.unwrap_or(0),
            stop: validation::stops("stop", stops)?,
            context_full: context_full.into(),
            format: self.grammar.clone().filter(|grammar| !grammar.is_empty()).map(Format::Grammar),
            ..wire::GenerateRequest::default()
        })
    }

    /// Tokens at most, if the request says; 0 is no limit.
    pub(super) fn max_tokens(&self) -> Result<Option<u32>, Problem> {
        validation::token_limit("max_tokens", self.max_tokens)
    }

    fn sampling(&self) -> Result<wire::Sampling, Problem> {
        Ok(wire::Sampling {
            temperature: within("temperature", self.temperature, 0.0, 2.0)?,
            top_p: within("top_p", self.top_p, 0.0, 1.0)?,
            top_k: self.top_k.map(validation::top_k),
            min_p: within("min_p", self.min_p, 0.0, 1.0)?,
            repeat_penalty: within("repeat_penalty", self.repeat_penalty, 0.0, 10.0)?,
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?,
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0, 2.0)?,
            seed: self.seed.map(validation::seed),
            logit_bias: self.biases()?,
        })
    }

    fn biases(&self) -> Result<Vec<wire::LogitBias>, Problem> {
        let biases = self.logit_bias.iter().flatten();
        let checked = biases.map(|(token, bias)| {
            let token: i32 = token.parse().map_err(|_| {
                invalid("logit_bias", format!("`logit_bias`: {token:?} is not the number of a token."))
            })?;
            within("logit_bias", Some(*bias), -100.0, 100.0)?;
            Ok(wire::LogitBias { token, bias: *bias })
        });
        let checked = checked.collect::<Result<Vec<_>, Problem>>()?;
        if checked.len() > MOST_BIASES {
            return Err(invalid(
                "logit_bias",
                format!("`logit_bias` may name at most {MOST_BIASES} tokens."),
            ));
        }
        Ok(checked)
    }
}
