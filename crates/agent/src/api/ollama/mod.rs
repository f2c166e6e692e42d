//! Ollama's API as its official clients need it: NDJSON, streaming unless told otherwise, durations in nanoseconds.

mod chat;
mod embed;
mod generate;
mod models;
mod options;
mod reply;

use std::time::Duration;

use actionbooster_chassis::Problem;
use actionbooster_scheduler::{KeepAlive, LeaseRequest, Listing, ScheduleError};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::inference::Inference;
use crate::problems;

pub(crate) use chat::chat;
pub(crate) use embed::{embed, embed_one};
pub(crate) use generate::generate;
pub(crate) use models::{ps, show, tags, version};

/// A problem in Ollama's own shape.
pub(crate) fn error_shape(problem: &Problem) -> Response {
    let body = json!({"error": problem.detail()}).to_string();
    (problem.status(), [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Loads a model, or unloads it when it is not to be kept.
async fn load<W: reply::Wording>(
    inference: &Inference,
    lease_request: &LeaseRequest,
    head: &reply::Head<W>,
) -> Result<Response, Problem> {
    let failed = |error: ScheduleError| problems::scheduling(&error);
    if lease_request.keep_alive == Some(KeepAlive::For(Duration::ZERO)) {
        inference.index.find(&lease_request.model).await.map_err(failed)?;
        inference.scheduler.unload(&lease_request.model, false).map_err(failed)?;
        return Ok(head.nothing("unload"));
    }
    inference.scheduler.lease(lease_request).await.map_err(failed)?;
    Ok(head.nothing("load"))
}

/// The id in our store of a model as Ollama's clients name it: `qwen3:0.6b` is `qwen3-0.6b`, and
/// `guide:latest` is `guide`.
pub(crate) fn id_of(name: &str, listing: &Listing) -> String {
    let plain = name.strip_suffix(":latest").unwrap_or(name);
    let dashed = plain.replace([':', '/'], "-");
    let known = [name, plain, dashed.as_str()].into_iter().find(|id| listing.models.contains_key(*id));
    known.unwrap_or(plain).to_owned()
}

/// How many of this surface's requests these bytes are. For the fuzz target.
pub(crate) fn accepts(bytes: &[u8]) -> usize {
    chat::accepts(bytes) + generate::accepts(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_store() {
        let mut listing = Listing::default();
        for id in ["guide", "qwen3-0.6b"] {
            let manifest = format!(
                "id = \"{id}\"\nname = \"G\"\nfile = \"g.gguf\"\nsha256 = \"{}\"\nsize_bytes = 4\nlicence = \"MIT\"\n",
                "0".repeat(64)
            );
            let manifest = actionbooster_models::Manifest::parse(&manifest).expect("manifest");
            let model = actionbooster_models::Model { manifest, folder: "/nowhere".into(), built_in: true };
            listing.models.insert(id.into(), model);
        }
        for (name, id) in [
            ("guide", "guide"),
            ("guide:latest", "guide"),
            ("qwen3:0.6b", "qwen3-0.6b"),
            ("other:7b", "other:7b"),
        ] {
            assert_eq!(id_of(name, &listing), id);
        }
    }
}
