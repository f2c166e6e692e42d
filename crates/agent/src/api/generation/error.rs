//! What cannot be generated, as problems of HTTP.

use actionbooster_chassis::Problem;
use actionbooster_generation::{AssetError, GenerationError};
use axum::http::StatusCode;

use super::local_models::Refused;

/// Seconds after which a client should try again when the queue is full, or the server of images not there.
const RETRY_AFTER_S: u64 = 30;
/// Seconds after which a client should try again when a text server is not there.
const RETRY_TEXT_AFTER_S: u64 = 10;

/// The same as a problem.
pub(super) fn problem(error: GenerationError) -> Problem {
    use GenerationError as E;
    let error = match error {
        E::Model(refused) => {
            return refused.downcast::<Refused>().map_or_else(Problem::internal, |refused| refused.0);
        }
        error if error.is_internal() => return Problem::internal(error),
        error => error,
    };
    let (status, kind, title) = match &error {
        E::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This cannot be generated"),
        E::UnknownModel(_) => (StatusCode::NOT_FOUND, "model_not_found", "There is no such model"),
        E::TextServerUnreachable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "text-server-unreachable", "The text server is not there")
        }
        E::TextServerFailed(_) => (StatusCode::BAD_GATEWAY, "text-server-failed", "The text server failed"),
        E::ComfyOff => (StatusCode::SERVICE_UNAVAILABLE, "comfyui-off", "No server makes images here"),
        E::ComfyUnreachable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "comfyui-unreachable",
            "The server that makes images is not there",
        ),
        E::QueueFull => (StatusCode::TOO_MANY_REQUESTS, "queue-full", "Too many generations wait"),
        E::UnknownGeneration(_) => {
            (StatusCode::NOT_FOUND, "generation-not-found", "There is no such generation")
        }
        E::Asset(AssetError::Missing(_)) => {
            (StatusCode::NOT_FOUND, "asset-not-found", "There is no such asset")
        }
        E::Asset(AssetError::Full { .. }) => {
            (StatusCode::INSUFFICIENT_STORAGE, "disk-full", "The disk is full")
        }
        E::Model(_) | E::Asset(AssetError::Io { .. }) | E::Task(_) => return Problem::internal(error),
    };
    let problem = Problem::new(status, kind, title, error.to_string());
    match error {
        E::Invalid { param, .. } => problem.with("param", param),
        E::UnknownModel(_) => problem.with("param", "model"),
        E::TextServerUnreachable(_) => problem.retry_after(RETRY_TEXT_AFTER_S),
        E::ComfyOff => problem.with("setting", "gateway.comfyui"),
        E::ComfyUnreachable(_) => problem.with("setting", "gateway.comfyui").retry_after(RETRY_AFTER_S),
        E::QueueFull => problem.retry_after(RETRY_AFTER_S),
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_refusal_is_the_problem_that_clients_know() {
        let model = Problem::new(StatusCode::CONFLICT, "in-use", "The model is in use", "Wait.");
        let (text, io) = (|| String::from("Why."), || std::io::Error::other("no"));
        let invalid = GenerationError::Invalid { param: "steps", detail: text() };
        let full = AssetError::Full { kept: text(), reason: text() };
        let cases = [
            (invalid, 422, "invalid", "param", json!("steps"), None),
            (GenerationError::UnknownModel(text()), 404, "model_not_found", "param", json!("model"), None),
            (GenerationError::Model(Box::new(Refused(model))), 409, "in-use", "param", Value::Null, None),
            (
                GenerationError::TextServerUnreachable(text()),
                503,
                "text-server-unreachable",
                "param",
                Value::Null,
                Some(10),
            ),
            (
                GenerationError::TextServerFailed(text()),
                502,
                "text-server-failed",
                "param",
                Value::Null,
                None,
            ),
            (GenerationError::ComfyOff, 503, "comfyui-off", "setting", json!("gateway.comfyui"), None),
            (
                GenerationError::ComfyUnreachable(text()),
                503,
                "comfyui-unreachable",
                "setting",
                json!("gateway.comfyui"),
                Some(30),
            ),
            (GenerationError::QueueFull, 429, "queue-full", "param", Value::Null, Some(30)),
            (
                GenerationError::UnknownGeneration(text()),
                404,
                "generation-not-found",
                "param",
                Value::Null,
                None,
            ),
            (AssetError::Missing(text()).into(), 404, "asset-not-found", "param", Value::Null, None),
            (full.into(), 507, "disk-full", "param", Value::Null, None),
            (
                AssetError::Io { what: text(), source: io() }.into(),
                500,
                "internal",
                "param",
                Value::Null,
                None,
            ),
        ];
        for (error, status, kind, member, value, seconds) in cases {
            let problem = problem(error);
            assert_eq!((problem.status().as_u16(), problem.kind()), (status, kind));
            assert_eq!(problem.to_json()[member], value, "{kind}");
            assert_eq!(problem.retry_after_seconds(), seconds, "{kind}");
        }
    }
}
