//! The wire contracts of `proto/`, compiled. The only crate that holds generated code.

/// How the agent talks to a runner (`proto/runner.proto`).
pub mod runner {
    /// Bytes of a message at most, on both sides. A request of 4 MiB grows to four times as much when its numbers are
    /// written out.
    pub const MOST_MESSAGE_BYTES: usize = 16 << 20;

    /// Version 1 of the contract.
    #[allow(missing_docs, clippy::pedantic, reason = "generated from the documented proto file")]
    pub mod v1 {
        tonic::include_proto!("actionbooster.runner.v1");
    }

    /// Metadata of the refusal of a prompt that is too long: its tokens.
    pub const PROMPT_TOKENS: &str = "prompt-tokens";
    /// The tokens of the context, of which at least one is for the answer.
    pub const CONTEXT_TOKENS: &str = "context-tokens";
}

/// How a client of detection talks to the worker (`proto/ai.proto`).
pub mod ai {
    /// Version 1 of the contract.
    #[allow(missing_docs, clippy::pedantic, reason = "generated from the documented proto file")]
    pub mod v1 {
        tonic::include_proto!("actionbooster.ai.v1");
    }
}

pub mod frames;
