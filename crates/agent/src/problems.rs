//! What the scheduler refuses, as problems of HTTP.

use actionbooster_chassis::Problem;
use actionbooster_models::shown_id;
use actionbooster_scheduler::{Listing, ScheduleError};
use axum::http::StatusCode;

/// Seconds after which a client should try again when memory was short.
pub(crate) const RETRY_AFTER_S: u64 = 10;

/// Status, short word and title of a problem.
pub(crate) type Class = (StatusCode, &'static str, &'static str);

/// What is told of a prompt that leaves no room for an answer: OpenAI's own word, by which agents know that they
/// have to shorten the conversation.
pub(crate) const TOO_LONG: &str = "context_length_exceeded";

/// What is told of a model that others use now.
pub(crate) const BUSY: Class = (StatusCode::SERVICE_UNAVAILABLE, "busy", "The model is not free now");

/// What kind of problem it is.
pub(crate) fn class(error: &ScheduleError) -> Class {
    use ScheduleError as E;
    match error {
        E::Unknown { .. } => (StatusCode::NOT_FOUND, "model_not_found", "There is no such model"),
        E::TooLarge { .. } | E::Pinned { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "model_too_large", "The model does not fit")
        }
        E::QueueFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests wait"),
        E::InUse { .. } => (StatusCode::CONFLICT, "in-use", "The model is in use"),
        E::Kept { .. } => (StatusCode::CONFLICT, "pinned", "The model is pinned"),
        E::NoRoom { .. } | E::LoadTimeout { .. } | E::Unloaded { .. } | E::ShuttingDown => BUSY,
        E::Unusable { .. } | E::LoadFailed { .. } | E::CircuitOpen { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "model_unusable", "The model cannot be used")
        }
    }
}

/// The problem, with the time to come back where that can be said.
pub(crate) fn scheduling(error: &ScheduleError) -> Problem {
    let class = class(error);
    let (status, kind, title) = class;
    let problem = Problem::new(status, kind, title, error.to_string());
    match error {
        ScheduleError::CircuitOpen { seconds, .. } | ScheduleError::QueueFull { seconds, .. } => {
            problem.retry_after(*seconds)
        }
        _ if class == BUSY => problem.retry_after(RETRY_AFTER_S),
        _ => problem,
    }
}

/// 404 for a model that is not there, with the names that may have been meant.
pub(crate) fn unknown_model(id: &str, listing: &Listing) -> Problem {
    let similar = listing.similar(id);
    let id = shown_id(id);
    let detail = if !similar.is_empty() {
        format!("There is no model {id}; did you mean {}?", similar.join(" or "))
    } else if listing.models.is_empty() {
        format!("There is no model {id}; the store is empty.")
    } else {
        let known: Vec<&str> = listing.models.keys().map(String::as_str).collect();
        format!("There is no model {id}; there are {}.", known.join(", "))
    };
    Problem::new(StatusCode::NOT_FOUND, "model_not_found", "There is no such model", detail)
        .with("param", "model")
}

#[cfg(test)]
mod tests {
    use actionbooster_models::{Manifest, Model};

    use super::*;

    #[test]
    fn a_model_that_is_not_there_is_answered_with_similar_names_or_all() {
        let mut listing = Listing::default();
        assert!(unknown_model("guide", &listing).detail().contains("the store is empty"));
        let manifest = format!(
            "id = \"guide\"\nname = \"G\"\nfile = \"g.gguf\"\nsha256 = \"{}\"\nsize_bytes = 4\nlicence = \"MIT\"\n",
            "0".repeat(64)
        );
        let manifest = Manifest::parse(&manifest).expect("manifest");
        let model = Model { manifest, folder: "/nowhere".into(), built_in: true };
        listing.models.insert("guide".into(), model);
        for (id, expected) in [("guid", "did you mean guide?"), ("other", "there are guide.")] {
            assert!(unknown_model(id, &listing).detail().contains(expected), "{id}");
        }
    }

    #[test]
    fn who_may_come_back_is_told_when() {
        let full = ScheduleError::QueueFull { id: "m".into(), waiting: 3, seconds: 7 };
        let crashed = ScheduleError::LoadFailed { id: "m".into(), reason: "it crashed".into() };
        for (error, status, seconds) in [
            (full, 429, Some(7)),
            (ScheduleError::ShuttingDown, 503, Some(RETRY_AFTER_S)),
            (crashed, 503, None),
        ] {
            let problem = scheduling(&error);
            assert_eq!(
                (problem.status().as_u16(), problem.retry_after_seconds()),
                (status, seconds),
                "{error}"
            );
        }
    }
}
