//! `POST /v1/embeddings`: texts as vectors.

use actionbooster_chassis::{Json, Problem};
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ask::{Texts, embed};
use crate::inference::Inference;
use crate::query::MOST_PROMPT_BYTES;
use crate::request_context::RequestContext;
use crate::validation::invalid;

/// Texts of one request at most; OpenAI's own limit.
const MOST_INPUTS: usize = 2048;

/// Body of the request.
#[derive(Deserialize)]
pub(crate) struct EmbeddingRequest {
    model: String,
    input: Input,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Several(Vec<String>),
    Tokens(serde::de::IgnoredAny),
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    /// Little-endian 32-bit floats; what the official clients ask for.
    Base64,
}

/// One vector per text, of length 1.
pub(crate) async fn embeddings(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(request): Json<EmbeddingRequest>,
) -> Result<Json<Value>, Problem> {
    let inputs = checked("input", request.input.texts()?)?;
    let texts = Texts { inputs, normalize: true, truncate: false };
    let reply =
        embed(&inference, &context.lease_request(&request.model, inference.limits.load_timeout), texts).await;
    let reply = reply.map_err(|error| error.problem())?;
    let encoding = request.encoding_format.unwrap_or_default();
    let mut data = Vec::with_capacity(reply.embeddings.len());
    for (index, embedding) in reply.embeddings.into_iter().enumerate() {
        let vector = shortened(embedding.values, request.dimensions)?;
        let told = match encoding {
            Encoding::Float => json!(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                BASE64_STANDARD.encode(bytes).into()
            }
        };
        data.push(json!({"object": "embedding", "index": index, "embedding": told}));
    }
    let tokens = reply.prompt_tokens;
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })))
}

impl Input {
    fn texts(&self) -> Result<Vec<String>, Problem> {
        match self {
            Self::One(text) => Ok(vec![text.clone()]),
            Self::Several(texts) => Ok(texts.clone()),
            Self::Tokens(_) => Err(invalid(
                "input",
                "`input` must be a text or a list of texts; numbers of tokens differ from model to model.",
            )),
        }
    }
}

/// Texts that can be embedded: some, none of them empty, not too much.
pub(crate) fn checked(param: &'static str, texts: Vec<String>) -> Result<Vec<String>, Problem> {
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(invalid(param, format!("`{param}` holds an empty text; send some.")));
    }
    if texts.len() > MOST_INPUTS {
        return Err(invalid(param, format!("`{param}` may hold at most {MOST_INPUTS} texts.")));
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    if bytes > MOST_PROMPT_BYTES {
        return Err(invalid(
            param,
            format!("`{param}` has {bytes} bytes; at most {MOST_PROMPT_BYTES} are read."),
        ));
    }
    Ok(texts)
}

/// The first numbers of a vector, brought to length 1 again: how models trained for it are shortened.
pub(crate) fn shortened(mut vector: Vec<f32>, dimensions: Option<usize>) -> Result<Vec<f32>, Problem> {
    let Some(wanted) = dimensions else { return Ok(vector) };
    if wanted == 0 || wanted > vector.len() {
        let detail = format!("`dimensions` is {wanted}; this model's vectors have {} numbers.", vector.len());
        return Err(invalid("dimensions", detail));
    }
    if wanted < vector.len() {
        vector.truncate(wanted);
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        if length > 0.0 {
            for value in &mut vector {
                *value /= length;
            }
        }
    }
    Ok(vector)
}

/// Whether these bytes are such a request. For the fuzz target.
pub(super) fn accepts(bytes: &[u8]) -> usize {
    let request = serde_json::from_slice::<EmbeddingRequest>(bytes);
    let fine =
        |request: EmbeddingRequest| request.input.texts().and_then(|texts| checked("input", texts)).is_ok();
    usize::from(request.is_ok_and(fine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_shortened_and_brought_to_length_one() {
        assert_eq!(shortened(vec![3.0, 4.0, 12.0], Some(2)).ok(), Some(vec![0.6, 0.8]));
        assert_eq!(shortened(vec![0.6, 0.8], None).ok(), Some(vec![0.6, 0.8]));
        assert!(shortened(vec![1.0], Some(2)).is_err());
        assert!(shortened(vec![1.0], Some(0)).is_err());
    }

    #[test]
    fn texts_are_checked() {
        for (text, fine) in [
            ("{\"model\":\"m\",\"input\":\"x\"}", true),
            ("{\"model\":\"m\",\"input\":[\"x\",\"y\"],\"encoding_format\":\"base64\"}", true),
            ("{\"model\":\"m\",\"input\":[]}", false),
            ("{\"model\":\"m\",\"input\":[\"\"]}", false),
            ("{\"model\":\"m\",\"input\":[1,2]}", false),
        ] {
            let request: EmbeddingRequest = serde_json::from_str(text).expect("parses");
            assert_eq!(
                request.input.texts().and_then(|texts| checked("input", texts)).is_ok(),
                fine,
                "{text}"
            );
        }
    }
}
