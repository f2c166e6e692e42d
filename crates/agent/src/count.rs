//! How many tokens a conversation has, told before a model reads it.
//!
//! Its words are counted by the model itself. What the chat template puts around them is estimated, as Anthropic
//! does of its own: the exact number comes with the answer.

use actionbooster_scheduler::{Lease, LeaseRequest};
use actionbooster_wire::runner::v1 as wire;
use tonic::Status;

use crate::ask::{AskError, hung, judge, runner};
use crate::cost;
use crate::inference::Inference;

/// Tokens around each turn, and before the answer: the marks, the role and the line's end of most templates.
const TURN_FRAME: usize = 5;
const ANSWER_FRAME: usize = 3;
/// Tokens around a call, and of the words with which tools are introduced where there are any.
const CALL_FRAME: usize = 15;
const TOOLS_FRAME: usize = 100;

/// The tokens of this conversation, about; the model is loaded for it.
pub(crate) async fn count(
    inference: &Inference,
    lease_request: &LeaseRequest,
    chat: &wire::Chat,
) -> Result<u32, AskError> {
    let id = lease_request.model.as_str();
    let lease_request = cost::of_chat(lease_request.clone(), chat);
    let lease = inference.scheduler.lease(&lease_request).await?;
    match tokio::time::timeout(inference.limits.hang_timeout, count_with(&lease, chat)).await {
        Ok(Ok(tokens)) => {
            inference.scheduler.record_success(id);
            Ok(tokens)
        }
        Ok(Err(status)) => Err(judge(&lease, id, &status).await),
        Err(_) => Err(hung(inference, &lease, id)),
    }
}

/// The same by a runner that is at hand.
pub(crate) async fn count_with(lease: &Lease, chat: &wire::Chat) -> Result<u32, Status> {
    let request = wire::TokenizeRequest { text: words(chat), special: false };
    let reply = runner(lease).tokenize(request).await?.into_inner();
    Ok(u32::try_from(reply.tokens.len() + frame(chat)).unwrap_or(u32::MAX))
}

/// Tokens that a template adds.
fn frame(chat: &wire::Chat) -> usize {
    let calls: usize = chat.messages.iter().map(|message| message.tool_calls.len()).sum();
    let tools = if chat.tools.is_empty() { 0 } else { TOOLS_FRAME };
    chat.messages.len() * TURN_FRAME + calls * CALL_FRAME + tools + ANSWER_FRAME
}

/// Everything of a conversation that a template shows.
fn words(chat: &wire::Chat) -> String {
    let mut words = chat.tools.clone();
    for message in &chat.messages {
        words += &message.content;
        for call in &message.tool_calls {
            words += &call.name;
            words += &call.arguments;
        }
    }
    words
}
