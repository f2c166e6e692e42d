//! Errors with their causes, in one line.

use std::error::Error;

/// An error with its causes, without those that its text holds already.
pub fn with_causes(error: &dyn Error) -> String {
    joined(error, |text, cause| !text.contains(cause))
}

/// An error with every one of its causes.
pub(crate) fn every_cause(error: &dyn Error) -> String {
    joined(error, |_, _| true)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failed {
        #[error("cannot read a: {0}")]
        Read(#[source] Box<Failed>),
        #[error("no such file")]
        Missing,
    }

    #[test]
    fn a_cause_that_is_told_already_is_not_repeated_where_that_is_wished() {
        let error = Failed::Read(Box::new(Failed::Missing));
        assert_eq!(with_causes(&error), "cannot read a: no such file");
        assert_eq!(every_cause(&error), "cannot read a: no such file: no such file");
    }
}
