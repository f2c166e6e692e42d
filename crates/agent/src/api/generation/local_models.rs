//! The language models of this box, as generations ask them.

use std::fmt;

use actionbooster_chassis::Problem;
use actionbooster_generation::{Answer, LocalModels, ModelError, Question};
use actionbooster_models::Role;
use actionbooster_scheduler::Listing;
use actionbooster_wire::runner::v1 as wire;
use axum::http::StatusCode;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ask::{self, ask};
use crate::inference::Inference;
use crate::problems::unknown_model;
use crate::request_context::RequestContext;

/// The models, asked on somebody's behalf.
#[derive(Debug)]
pub(crate) struct Models {
    pub(crate) inference: Inference,
    pub(crate) context: RequestContext,
}

/// Why a model wrote nothing.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Problem);

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.detail())
    }
}

impl std::error::Error for Refused {}

impl LocalModels for Models {
    fn choose<'a>(&'a self, named: Option<&'a str>) -> BoxFuture<'a, Result<String, ModelError>> {
        async move {
            let listing = self.inference.index.list().await;
            choose(named, &self.inference.default_models, &listing)
                .map_err(|problem| Box::new(Refused(problem)) as ModelError)
        }
        .boxed()
    }

    fn write<'a>(
        &'a self,
        model: &'a str,
        question: Question<'a>,
    ) -> BoxFuture<'a, Result<Answer, ModelError>> {
        async move {
            let lease_request = self.context.lease_request(model, self.inference.limits.load_timeout);
            let pieces = ask(self.inference.clone(), lease_request, generation(&question));
            let answer = ask::Answer::collect(pieces).await.map_err(|error| Refused(error.problem()))?;
            let ask::Answer { text, account, .. } = answer;
            let (prompt_tokens, generated_tokens) = (account.prompt_tokens, account.generated_tokens);
            Ok(Answer { text, prompt_tokens, generated_tokens })
        }
        .boxed()
    }
}

fn generation(question: &Question<'_>) -> wire::GenerateRequest {
    let message = |role: &str, content: &str| wire::ChatMessage {
        role: role.into(),
        content: content.into(),
        ..wire::ChatMessage::default()
    };
    let system = question.system.map(|text| message("system", text));
    let messages = system.into_iter().chain([message("user", question.prompt)]).collect();
    let sampling = wire::Sampling {
        temperature: Some(question.temperature),
        seed: Some(question.seed),
        ..wire::Sampling::default()
    };
    wire::GenerateRequest {
        input: Some(wire::generate_request::Input::Chat(wire::Chat { messages, ..wire::Chat::default() })),
        sampling: Some(sampling),
        max_tokens: question.max_tokens,
        ..wire::GenerateRequest::default()
    }
}

/// The named model; else the first that the owner chose, the first that can write, the first of all.
fn choose(named: Option<&str>, chosen: &[String], listing: &Listing) -> Result<String, Problem> {
    if let Some(id) = named {
        return if listing.models.contains_key(id) {
            Ok(id.to_owned())
        } else {
            Err(unknown_model(id, listing))
        };
    }
    let exists = |id: &&String| listing.models.contains_key(*id);
    let writes = |id: &&String| listing.models[*id].manifest.roles.contains(&Role::General);
    let own = chosen.iter().find(exists);
    let model = own.or_else(|| listing.models.keys().find(writes)).or_else(|| listing.models.keys().next());
    model.cloned().ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-models",
            "There is no model to ask",
            "Add a model to the store first.",
        )
    })
}
