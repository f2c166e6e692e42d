//! What is refused, as problems of HTTP.

use actionbooster_chassis::Problem;
use actionbooster_conversations::ConversationError;
use axum::http::StatusCode;

/// Seconds after which to ask again when many others do.
const RETRY_AFTER_S: u64 = 1;
/// Seconds after which to ask again when the disk does not answer.
const RETRY_DISK_AFTER_S: u64 = 10;

pub(super) fn problem(error: ConversationError) -> Problem {
    use ConversationError as E;
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let (status, kind, title) = match &error {
        E::Missing => (StatusCode::NOT_FOUND, "conversation-not-found", "There is no such conversation"),
        E::MissingTurn => (StatusCode::NOT_FOUND, "turn-not-found", "There is no such turn"),
        E::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This cannot be kept"),
        E::TurnTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The turn is too large"),
        E::ConversationFull { .. } => (StatusCode::CONFLICT, "conversation-full", "The conversation is full"),
        E::TooMany { .. } => {
            (StatusCode::CONFLICT, "too-many-conversations", "There are too many conversations")
        }
        E::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "disk-full", "The disk is full"),
        E::Busy => (unavailable, "busy", "The conversations are not free now"),
        E::Slow => (unavailable, "search-slow", "The search takes too long"),
        E::Damaged | E::IndexDamaged => {
            (unavailable, "conversations-damaged", "The file of conversations was damaged")
        }
        E::Unavailable(_) => {
            (unavailable, "conversations-unavailable", "The conversations cannot be reached")
        }
        E::Database(_) => return Problem::internal(error),
    };
    let problem = Problem::new(status, kind, title, error.to_string());
    match error {
        E::Invalid { param, .. } => problem.with("param", param),
        E::Busy | E::Damaged | E::IndexDamaged => problem.retry_after(RETRY_AFTER_S),
        E::Unavailable(_) => problem.retry_after(RETRY_DISK_AFTER_S),
        _ => problem,
    }
}
