//! Errors with their causes, in one line.

use std::error::Error;

/// An error with its causes, without those that its text holds already.
pub fn with_causes(error: &dyn Error) -> String {
    joined(error, |text, cause| !text.contains(cause))
}

fn joined(error: &dyn Error, adds: impl Fn(&str, &str) -> bool) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if adds(&text, &more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}
