//! The part each model plays in a query: what it is good for, and what it is told to do.

use std::collections::BTreeMap;

use actionbooster_models::{Model, Role};
use actionbooster_scheduler::Listing;
use actionbooster_wire::runner::v1 as wire;
use serde::Serialize;

use crate::ask::question;
use crate::inference::Inference;

/// One model's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Part {
    pub(super) model: String,
    /// As the request says, else the first in the model's manifest.
    pub(super) role: Option<Role>,
    /// The owner gave the model a system text of its own, which goes before its role's.
    #[serde(skip)]
    instructed: bool,
}

/// The parts of these models.
pub(super) async fn parts(
    inference: &Inference,
    listing: &Listing,
    models: Vec<String>,
    roles: &BTreeMap<String, Role>,
) -> Vec<Part> {
    let mut parts = Vec::with_capacity(models.len());
    for model in models {
        let usual =
            listing.models.get(&model).and_then(|model: &Model| model.manifest.roles.first().copied());
        let role = roles.get(&model).copied().or(usual);
        let instructed = inference.index.has_system_prompt(&model).await;
        parts.push(Part { model, role, instructed });
    }
    parts
}

impl Part {
    /// The question as this model is asked it.
    pub(super) fn request(&self, prompt: &str, max_tokens: u32) -> wire::GenerateRequest {
        let mut input = question(prompt);
        let task = self.role.and_then(task).filter(|_| !self.instructed);
        if let (wire::generate_request::Input::Chat(chat), Some(task)) = (&mut input, task) {
            let system = wire::ChatMessage {
                role: "system".into(),
                content: task.into(),
                ..wire::ChatMessage::default()
            };
            chat.messages.insert(0, system);
        }
        wire::GenerateRequest { input: Some(input), max_tokens, ..wire::GenerateRequest::default() }
    }
}

/// What a model of this role is told. General models and the guide answer as they were trained to.
const fn task(role: Role) -> Option<&'static str> {
    match role {
        Role::Reasoning => Some(
            "Answer in the language of the question. Think it through step by step, check each step, \
             and end with your conclusion.",
        ),
        Role::Code => Some(
            "Answer in the language of the question, as a programmer: give whole code that runs, then \
             say shortly how it works and where it fails.",
        ),
        Role::LongContext => Some(
            "Answer in the language of the question. Take all of the given text into account, and quote \
             the places that your answer rests on.",
        ),
        Role::General | Role::Guide | Role::Embedding => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_told_what_its_role_asks_unless_the_owner_told_it_already() {
        let turns = |role, instructed| {
            let part = Part { model: "m".into(), role, instructed };
            let Some(wire::generate_request::Input::Chat(chat)) = part.request("why?", 9).input else {
                panic!("a conversation");
            };
            chat.messages.into_iter().map(|message| message.role).collect::<Vec<_>>()
        };
        assert_eq!(turns(Some(Role::Reasoning), false), ["system", "user"]);
        assert_eq!(turns(Some(Role::Reasoning), true), ["user"]);
        assert_eq!(turns(Some(Role::General), false), ["user"]);
        assert_eq!(turns(Some(Role::Guide), false), ["user"], "it knows one kind of conversation");
        assert_eq!(turns(None, false), ["user"]);
    }
}
