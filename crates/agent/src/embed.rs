//! Texts as vectors, by one model.

use actionbooster_scheduler::LeaseRequest;
use actionbooster_wire::runner::v1 as wire;

use crate::ask::{AskError, hung, judge, runner};
use crate::cost;
use crate::inference::Inference;

/// Texts that are sent to a runner together, and their bytes.
const PORTION_TEXTS: usize = 16;
const PORTION_BYTES: usize = 64 * 1024;

/// Texts to make vectors of.
pub(crate) struct Texts {
    pub(crate) inputs: Vec<String>,
    /// Whether every vector gets length 1.
    pub(crate) normalize: bool,
    /// Whether texts that are too long are cut instead of refused.
    pub(crate) truncate: bool,
}

/// One vector per text. They go to the runner a few at a time, so that its silence is a sign.
pub(crate) async fn embed(
    inference: &Inference,
    lease_request: &LeaseRequest,
    texts: Texts,
) -> Result<wire::EmbedReply, AskError> {
    let Texts { inputs, normalize, truncate } = texts;
    let mut all = wire::EmbedReply { embeddings: Vec::with_capacity(inputs.len()), prompt_tokens: 0 };
    for inputs in portions(inputs) {
        let lease_request = cost::of_texts(lease_request.clone(), &inputs);
        let request = wire::EmbedRequest { inputs, normalize: Some(normalize), truncate };
        let reply = embed_portion(inference, &lease_request, request).await?;
        all.embeddings.extend(reply.embeddings);
        all.prompt_tokens = all.prompt_tokens.saturating_add(reply.prompt_tokens);
    }
    Ok(all)
}

/// Texts in their order, in portions of few texts and bytes; a longer text is one of its own.
fn portions(texts: Vec<String>) -> Vec<Vec<String>> {
    let mut portions: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for text in texts {
        bytes += text.len();
        match portions.last_mut() {
            Some(last) if last.len() < PORTION_TEXTS && bytes <= PORTION_BYTES => last.push(text),
            _ => {
                bytes = text.len();
                portions.push(vec![text]);
            }
        }
    }
    portions
}

async fn embed_portion(
    inference: &Inference,
    lease_request: &LeaseRequest,
    request: wire::EmbedRequest,
) -> Result<wire::EmbedReply, AskError> {
    let id = lease_request.model.as_str();
    let mut retried = false;
    loop {
        let mut lease = inference.scheduler.lease(lease_request).await?;
        let mut client = runner(&lease);
        let error =
            match tokio::time::timeout(inference.limits.hang_timeout, client.embed(request.clone())).await {
                Ok(Ok(reply)) => {
                    inference.scheduler.record_success(id);
                    let reply = reply.into_inner();
                    lease.settle(reply.prompt_tokens);
                    return Ok(reply);
                }
                Ok(Err(status)) => judge(&lease, id, &status).await,
                Err(_) => hung(inference, &lease, id),
            };
        if retried || !matches!(error, AskError::Died { .. }) {
            return Err(error);
        }
        retried = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_sent_in_portions_and_none_is_lost() {
        let (short, long) = ("a".repeat(10), "b".repeat(PORTION_BYTES + 1));
        let sizes = |texts: Vec<String>| -> Vec<usize> { portions(texts).iter().map(Vec::len).collect() };
        assert_eq!(sizes(vec![]), [0; 0]);
        assert_eq!(sizes(vec![short.clone(); 40]), [16, 16, 8]);
        assert_eq!(sizes(vec![short.clone(), long.clone(), short.clone(), short]), [1, 1, 2]);
        assert_eq!(sizes(vec!["c".repeat(PORTION_BYTES / 2); 5]), [2, 2, 1]);
        assert_eq!(sizes(vec![long.clone(), long]), [1, 1]);
    }
}
