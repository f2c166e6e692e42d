//! `POST /v1/embeddings`: texts as vectors.

use actionbooster_chassis::{Json, Problem};
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::api::embeddings::{checked, dimensions, shortened};
use crate::api::lenient::Integer;
use crate::api::validation::invalid;
use crate::embed::{Texts, embed};
use crate::inference::Inference;
use crate::request_context::RequestContext;

/// Body of the request.
#[derive(Deserialize)]
pub(crate) struct EmbeddingRequest {
    model: String,
    input: Input,
    encoding_format: Option<Encoding>,
    dimensions: Option<Integer>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Several(Vec<String>),
    Other(IgnoredAny),
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
    let wanted = dimensions(request.dimensions)?;
    let inputs = checked("input", request.input.texts()?)?;
    let texts = Texts { inputs, normalize: true, truncate: false };
    let id = inference.id_of(&request.model).await;
    let reply = embed(&inference, &context.lease_request(&id, inference.limits.load_timeout), texts).await;
    let reply = reply.map_err(|error| error.problem())?;
    let encoding = request.encoding_format.unwrap_or_default();
    let mut data = Vec::with_capacity(reply.embeddings.len());
    for (index, embedding) in reply.embeddings.into_iter().enumerate() {
        let vector = shortened(embedding.values, wanted)?;
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
    /// Some texts, none of them empty.
    fn texts(&self) -> Result<Vec<String>, Problem> {
        let texts = match self {
            Self::One(text) => Ok(vec![text.clone()]),
            Self::Several(texts) => Ok(texts.clone()),
            // They are numbers of some tokenizer's words, and nothing says of which: LangChain sends those of
            // OpenAI's, vLLM's clients those of the model. A guess would be answered with vectors of nonsense.
            Self::Other(_) => Err(invalid(
                "input",
                "`input` must be a text or a list of texts: numbers of tokens mean other words for every model. \
                 In LangChain, give OpenAIEmbeddings check_embedding_ctx_length=False, and it sends texts.",
            )),
        }?;
        if texts.is_empty() || texts.iter().any(String::is_empty) {
            return Err(invalid("input", "`input` holds an empty text; send some."));
        }
        Ok(texts)
    }
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
