//! How an engine is set up, and what it says about itself once it is loaded.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use llama_cpp_2::context::params::KvCacheType;

/// How the engine is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Tokens of context per request; 0 takes the model's own, at most 4096.
    pub context_tokens: u32,
    /// Requests decoded together; 0 is 2.
    pub slots: u32,
    /// Threads that compute; 0 is one per processor it may use.
    pub threads: u32,
    /// Processors to run on; empty means all.
    pub cpus: Vec<usize>,
    /// How the context's memory is stored.
    pub kv_type: KvType,
    /// Whether attention is computed in one fused step.
    pub flash_attention: FlashAttention,
    /// Tokens of one answer at most, also where the context moves; 0 is no limit but the context's.
    pub max_answer_tokens: u32,
    /// How long one request may hold its place, reading its prompt included; zero is no limit.
    pub max_answer_time: Duration,
    /// Folder with `libggml-cpu-*.so`; beside the installed program when absent.
    pub backends: Option<PathBuf>,
}

/// How keys and values of the context are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// Two bytes a number: exact enough for every model.
    #[default]
    F16,
    /// 34 bytes for 32 numbers: 53 % of the memory, with hardly any loss. Needs flash attention.
    Q8,
}

impl KvType {
    /// The name that settings and descriptions use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8 => "q8_0",
        }
    }

    pub(crate) const fn ggml(self) -> KvCacheType {
        match self {
            Self::F16 => KvCacheType::F16,
            Self::Q8 => KvCacheType::Q8_0,
        }
    }
}

impl FromStr for KvType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "f16" => Ok(Self::F16),
            "q8_0" => Ok(Self::Q8),
            _ => Err(format!("{text} is no type of context memory; use f16 or q8_0")),
        }
    }
}

/// Whether attention is computed in one fused step, which needs less memory for intermediate results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlashAttention {
    /// llama.cpp uses it where the model and the processor allow it.
    #[default]
    Auto,
    /// Always; loading fails where it is impossible.
    On,
    /// Never.
    Off,
}

impl FlashAttention {
    /// The name that settings and descriptions use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }

    /// `LLAMA_FLASH_ATTN_TYPE_*` of llama.h.
    pub(crate) const fn policy(self) -> i32 {
        match self {
            Self::Auto => -1,
            Self::Off => 0,
            Self::On => 1,
        }
    }
}

impl FromStr for FlashAttention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err(format!("{text} is no choice for flash attention; use auto, on or off")),
        }
    }
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `general.architecture`.
    pub architecture: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Tokens of context per request.
    pub context_tokens: u32,
    /// Requests decoded together.
    pub slots: u32,
    /// Whether the file has its own chat template.
    pub has_chat_template: bool,
    /// Numbers in one embedding.
    pub embedding_length: u32,
    /// Tokens the model knows.
    pub vocabulary: u32,
    /// How the context's memory is stored. f16 where the model's shape does not allow what was asked.
    pub kv_type: KvType,
    /// Whether attention is fused.
    pub flash_attention: FlashAttention,
    /// Whether it writes text. Models that only make embeddings do not.
    pub generates: bool,
}

#[cfg(test)]
mod tests {
    use super::{FlashAttention, KvType};

    #[test]
    fn settings_are_named_as_they_are_shown() {
        for kind in [KvType::F16, KvType::Q8] {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        for choice in [FlashAttention::Auto, FlashAttention::On, FlashAttention::Off] {
            assert_eq!(choice.name().parse(), Ok(choice));
        }
        assert_eq!("".parse(), Ok(KvType::F16));
        assert!("q3".parse::<KvType>().expect_err("refused").contains("f16 or q8_0"));
        assert!("yes".parse::<FlashAttention>().expect_err("refused").contains("auto, on or off"));
    }
}
