//! The runner: loads one model of the store and answers for it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use actionbooster_chassis::Paths;
use actionbooster_hardware::CpuList;
use actionbooster_llm::{Engine, FlashAttention, KvType, Options, Sampling};
use actionbooster_models::{Model, ModelOptions, Store};
use anyhow::{Context, Result, anyhow};
use processors::Processors;

pub mod complete;
mod processors;
pub mod serve;
mod service;
mod translate;

/// What the program does.
#[derive(clap::Parser)]
#[command(name = "booster-runner", version, about = "Holds one language model and answers for it")]
pub enum Command {
    /// Answers over a Unix socket (gRPC) until told to stop.
    Serve(serve::Arguments),
    /// Answers the questions of a file, greedily, and ends.
    Complete(complete::Arguments),
}

/// Which model, and what it may use.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct ModelArguments {
    /// Folder of the model, with its manifest.
    #[arg(long, conflicts_with = "id")]
    pub model: Option<PathBuf>,
    /// Identifier of a model in the store.
    #[arg(long, required_unless_present = "model")]
    pub id: Option<String>,
    /// Tokens of context per request; the manifest's when absent.
    #[arg(long)]
    pub context: Option<u32>,
    /// Requests answered together.
    #[arg(long)]
    pub slots: Option<u32>,
    /// Threads that compute.
    #[arg(long)]
    pub threads: Option<u32>,
    /// Processors to run on, such as `4-7` or `0,2`.
    #[arg(long)]
    pub cpus: Option<String>,
    /// How the context's memory is stored: `f16`, or `q8_0` for about half of it.
    #[arg(long)]
    pub kv_type: Option<KvType>,
    /// Fused attention: `auto`, `on` or `off`.
    #[arg(long)]
    pub flash_attention: Option<FlashAttention>,
}

/// Settings of `[runner]`, which the provisioner fits to the machine. Arguments win.
#[derive(serde::Deserialize, Debug)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Threads that compute; 0 is one per processor.
    pub threads: u32,
    /// Processors to run on; empty means all.
    pub cpus: String,
    /// Requests answered together; 0 is 2.
    pub slots: u32,
    /// How the context's memory is stored. `f16`, the default, is exact. `q8_0` needs 53 % of that memory and
    /// hardly differs in its answers; it needs flash attention. A model whose shape does not allow it gets f16.
    pub kv_type: String,
    /// Attention in one fused step, which needs less memory for intermediate results: `auto`, the default,
    /// where llama.cpp finds it possible, `on` (loading fails where it is not) or `off`.
    pub flash_attention: String,
    /// Tokens of one answer at most, whatever its request says; 0 is no limit but the context's.
    pub max_answer_tokens: u32,
    /// Seconds after which an answer ends as one that has reached its limit; 0 is no limit.
    pub max_answer_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 0,
            cpus: String::new(),
            slots: 0,
            kv_type: String::new(),
            flash_attention: String::new(),
            max_answer_tokens: 32_768,
            max_answer_s: 3600,
        }
    }
}

impl ModelArguments {
    /// The model, and how its owner wants it used.
    fn open(&self, paths: &Paths) -> Result<(Model, ModelOptions)> {
        if let Some(folder) = &self.model {
            return Ok((Model::open(folder, false)?, ModelOptions::default()));
        }
        let id = self.id.as_deref().unwrap_or_default();
        let store = Store::new(paths.vendor().join("models"), paths.state().join("models"));
        Ok((store.open(id)?, store.settings(id)?.options))
    }

    /// Starts the program again as its threads need it, unless that has happened.
    fn settle(&self, config: &Config) -> Result<Processors> {
        let cpus: CpuList = self.cpus.as_deref().unwrap_or(&config.cpus).parse().context("[runner] cpus")?;
        Processors::settle(&cpus.numbers(), self.threads.unwrap_or(config.threads))
    }

    /// Checks the file's head, then loads it.
    fn load(
        &self,
        model: &Model,
        wishes: &ModelOptions,
        config: &Config,
        processors: &Processors,
    ) -> Result<Engine> {
        let header = model.header()?;
        let options = Options {
            context_tokens: self.context.unwrap_or_else(|| model.context_tokens_for(&header, wishes)),
            slots: self.slots.unwrap_or(config.slots),
            threads: match self.threads.unwrap_or(config.threads) {
                0 => processors.count(),
                threads => threads,
            },
            // The whole process runs on them.
            cpus: Vec::new(),
            kv_type: choice("kv_type", self.kv_type, &config.kv_type)?,
            flash_attention: choice("flash_attention", self.flash_attention, &config.flash_attention)?,
            max_answer_tokens: config.max_answer_tokens,
            max_answer_time: Duration::from_secs(config.max_answer_s),
            backends: None,
        };
        Ok(Engine::load(&model.file(), options)?)
    }
}

/// The argument, or else the setting of this name.
fn choice<T: FromStr<Err = String>>(name: &str, argument: Option<T>, setting: &str) -> Result<T> {
    argument.map_or_else(|| setting.parse(), Ok).map_err(|error| anyhow!("[runner] {name}: {error}"))
}

/// Sampling when a request does not say.
fn sampling_of(model: &Model, wishes: &ModelOptions) -> Sampling {
    let own = wishes.sampling(model.manifest.sampling);
    let neutral = Sampling::default();
    Sampling {
        temperature: own.temperature.unwrap_or(neutral.temperature),
        top_p: own.top_p.unwrap_or(neutral.top_p),
        top_k: own.top_k.unwrap_or(neutral.top_k),
        min_p: own.min_p.unwrap_or(neutral.min_p),
        repeat_penalty: own.repeat_penalty.unwrap_or(neutral.repeat_penalty),
        ..neutral
    }
}

#[cfg(test)]
mod tests {
    use super::choice;
    use actionbooster_llm::KvType;

    #[test]
    fn arguments_win_over_settings_and_mistakes_name_the_setting() {
        assert_eq!(choice("kv_type", Some(KvType::F16), "q8_0").ok(), Some(KvType::F16));
        assert_eq!(choice("kv_type", None, "q8_0").ok(), Some(KvType::Q8));
        assert_eq!(choice("kv_type", None, "").ok(), Some(KvType::F16));
        let error = choice::<KvType>("kv_type", None, "q2").expect_err("refused").to_string();
        assert!(error.contains("[runner] kv_type") && error.contains("q8_0"), "{error}");
    }
}
