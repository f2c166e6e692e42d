//! JSON bodies whose mistakes are problems.

use std::error::Error;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower_http::timeout::TimeoutError;

use crate::problem::Problem;

/// A JSON body, read or written.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes =
            axum::body::Bytes::from_request(request, state).await.map_err(|error| unreadable(&error))?;
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { String::new() } else { format!(" at {path}") };
            malformed(format!("The body is not what is expected{place}: {}.", error.inner()))
        })?;
        reader.end().map_err(|error| malformed(format!("Something follows the JSON value: {error}.")))?;
        Ok(Self(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
            Err(error) => Problem::internal(error).into_response(),
        }
    }
}

fn malformed(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read", detail)
}

fn unreadable(error: &BytesRejection) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The request is too large",
            "The body has more bytes than are accepted here.",
        );
    }
    if caused_by::<TimeoutError>(error) {
        return Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow-body",
            "The request came too slowly",
            "The rest of the body did not arrive in time. Send it again.",
        );
    }
    if caused_by::<std::io::Error>(error) {
        return malformed(
            "The body is not what its Content-Encoding says. Pack it again, or send it as it is.".into(),
        );
    }
    malformed("The body broke off before it was whole.".into())
}

fn caused_by<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    error.is::<E>() || error.source().is_some_and(caused_by::<E>)
}
