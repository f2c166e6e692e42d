//! The wire contracts of `proto/`, compiled. The only crate that holds generated code.

/// How the agent talks to a runner (`proto/runner.proto`).
pub mod runner {
    /// Version 1 of the contract.
    #[allow(missing_docs, clippy::pedantic, reason = "generated from the documented proto file")]
    pub mod v1 {
        tonic::include_proto!("actionbooster.runner.v1");
    }
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
