//! What went wrong, as far as an exit status tells it apart.

use std::process::ExitCode;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;
const REFUSED: u8 = 4;

/// A mistake on the command line that clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Nobody answers there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// The box answered that it will not.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// What the box says about it.
    pub message: String,
    /// The whole of what it says.
    pub body: serde_json::Value,
}

/// The exit status for an error, as the crate's page lists them.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let code = if error.is::<Usage>() {
        USAGE
    } else if error.is::<Unreachable>() {
        UNREACHABLE
    } else {
        match error.downcast_ref::<Answered>().map(|answered| answered.status) {
            Some(401 | 403) => REFUSED,
            _ => FAILED,
        }
    };
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_exit_status_survives_added_context() {
        let answered = |status| {
            anyhow::Error::new(Answered { status, message: "no".into(), body: serde_json::Value::Null })
        };
        let cases = [
            (anyhow!("anything"), FAILED),
            (anyhow::Error::new(Usage("x".into())), USAGE),
            (anyhow::Error::new(Unreachable("x".into())), UNREACHABLE),
            (answered(401), REFUSED),
            (answered(403), REFUSED),
            (answered(500), FAILED),
        ];
        for (error, expected) in cases {
            let words = error.to_string();
            let outcome: anyhow::Result<()> = Err(error);
            let error = outcome.context("while testing").expect_err("an error");
            assert_eq!(exit_code(&error), ExitCode::from(expected), "{words}");
        }
    }
}
