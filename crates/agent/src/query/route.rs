//! `POST /api/v1/query`: one question to the one model that suits it best, and why.

use std::collections::BTreeMap;

use actionbooster_chassis::{Json, Problem};
use actionbooster_models::{Description, Model, Role};
use actionbooster_scheduler::ModelState;
use actionbooster_wire::runner::v1 as wire;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{DEFAULT_TOKENS, Query, check, default_models};
use crate::ask::{Answer, ask, question};
use crate::inference::Inference;
use crate::request_context::RequestContext;

/// Prompts of more bytes than this are long documents.
const LONG: usize = 12_000;
/// Words that tell what a question is about, in both languages of the portal.
const ABOUT: [(Role, &[&str]); 3] = [
    (
        Role::Guide,
        &[
            "actionbooster",
            "this box",
            "esta caja",
            "boosterctl",
            "claim code",
            "código de la caja",
            "online mode",
            "modo en línea",
        ],
    ),
    (
        Role::Code,
        &[
            "```",
            "code",
            "código",
            "function",
            "función",
            "script",
            "python",
            "rust",
            "javascript",
            "sql",
            "regex",
            "compil",
            "bug",
            "programa",
        ],
    ),
    (
        Role::Reasoning,
        &[
            "step by step",
            "paso a paso",
            "prove",
            "demuestra",
            "calculate",
            "calcula",
            "how many",
            "cuántos",
            "cuántas",
            "why",
            "por qué",
            "puzzle",
            "acertijo",
            "ecuación",
            "equation",
        ],
    ),
];

/// Body of the request: that of `/query` without a choice of models.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Routed {
    prompt: String,
    max_tokens: Option<u32>,
}

/// Chooses, asks, and says why.
pub(crate) async fn route(
    State(inference): State<Inference>,
    context: RequestContext,
    Json(routed): Json<Routed>,
) -> Result<Json<Value>, Problem> {
    let listing = inference.index.list().await;
    let query = Query {
        prompt: routed.prompt,
        models: None,
        roles: BTreeMap::new(),
        stream: None,
        max_tokens: routed.max_tokens,
        summary_model: None,
    };
    check(&query, &listing)?;
    let states = inference.scheduler.states();
    let usable = default_models(&inference, &listing).await;
    let candidates: Vec<Candidate<'_>> = usable
        .iter()
        .filter_map(|id| {
            let loaded = matches!(states.get(id), Some((ModelState::Ready, _)));
            Some(Candidate { model: listing.models.get(id)?, loaded })
        })
        .collect();
    let wanted = about(&query.prompt);
    let (chosen, why) =
        choose(&candidates, wanted).ok_or_else(|| super::invalid("No model can be asked."))?;
    let id = chosen.manifest.id.clone();
    let request = wire::GenerateRequest {
        input: Some(question(&query.prompt)),
        max_tokens: query.max_tokens.unwrap_or(DEFAULT_TOKENS),
        ..wire::GenerateRequest::default()
    };
    let pieces = ask(inference.clone(), context.lease_request(&id, inference.limits.load_timeout), request);
    let answer = Answer::collect(pieces).await.map_err(|error| error.problem())?;
    Ok(Json(json!({
        "model": id,
        "why": why,
        "text": answer.text,
        "reasoning": answer.reasoning,
        "prompt_tokens": answer.account.prompt_tokens,
        "generated_tokens": answer.account.generated_tokens,
    })))
}

struct Candidate<'a> {
    model: &'a Model,
    loaded: bool,
}

/// What a question is about, as far as its words and its length tell.
fn about(prompt: &str) -> Role {
    if prompt.len() > LONG {
        return Role::LongContext;
    }
    let prompt = prompt.to_lowercase();
    let hits = |words: &[&str]| words.iter().filter(|word| prompt.contains(*word)).count();
    let best = ABOUT.iter().map(|(role, words)| (hits(words), *role)).filter(|(count, _)| *count > 0);
    // The first of equals: what is about this box is first of all that.
    best.rev().max_by_key(|(count, _)| *count).map_or(Role::General, |(_, role)| role)
}

/// The model with the wanted role, else a general one, else any; the loaded one of equals, then the largest.
fn choose<'a>(candidates: &[Candidate<'a>], wanted: Role) -> Option<(&'a Model, Description)> {
    let rank = |candidate: &&Candidate<'a>| {
        let roles = &candidate.model.manifest.roles;
        let suits = if roles.contains(&wanted) { 2 } else { u8::from(roles.contains(&Role::General)) };
        (suits, candidate.loaded, candidate.model.manifest.size_bytes)
    };
    let best = candidates.iter().max_by_key(rank)?;
    let name = &best.model.manifest.name;
    let suits = best.model.manifest.roles.contains(&wanted);
    let mut why = if suits {
        Description {
            en: format!("The question looks like {}, and {name} is made for that", wanted.name_en()),
            es: format!("La pregunta parece de {}, y {name} está hecho para eso", wanted.name_es()),
        }
    } else {
        Description {
            en: format!(
                "The question looks like {}; no model here is made for that, and {name} is the nearest",
                wanted.name_en()
            ),
            es: format!(
                "La pregunta parece de {}; ningún modelo está hecho para eso, y {name} es el más cercano",
                wanted.name_es()
            ),
        }
    };
    if best.loaded {
        why.en.push_str("; it is loaded already.");
        why.es.push_str("; ya está cargado.");
    } else {
        why.en.push('.');
        why.es.push('.');
    }
    Some((best.model, why))
}

#[cfg(test)]
mod tests {
    use actionbooster_models::Manifest;

    use super::*;

    fn model(id: &str, roles: &str, size: u64) -> Model {
        let text = format!(
            "id = {id:?}\nname = {id:?}\nfile = \"m.gguf\"\nsha256 = \"{}\"\nsize_bytes = {size}\nlicence = \"MIT\"\nroles = [{roles}]\n",
            "0".repeat(64)
        );
        Model {
            manifest: Manifest::parse(&text).expect("manifest"),
            folder: "/nowhere".into(),
            built_in: false,
        }
    }

    #[test]
    fn a_question_goes_to_the_model_that_suits_it() {
        for (prompt, role) in [
            ("Write a Python function that sorts", Role::Code),
            ("¿Cuántas manzanas quedan? Calcula paso a paso.", Role::Reasoning),
            ("How do I switch this box to online mode?", Role::Guide),
            ("Tell me a story", Role::General),
            (&"word ".repeat(5000), Role::LongContext),
        ] {
            assert_eq!(about(prompt), role, "{}", &prompt[..prompt.len().min(40)]);
        }
        let models = [
            model("guide", "\"guide\"", 1),
            model("small", "\"general\"", 10),
            model("large", "\"general\"", 20),
            model("coder", "\"code\"", 5),
        ];
        let pick = |wanted, loaded: &str| {
            let candidates: Vec<Candidate> =
                models.iter().map(|model| Candidate { model, loaded: model.manifest.id == loaded }).collect();
            choose(&candidates, wanted).expect("one").0.manifest.id.clone()
        };
        assert_eq!(pick(Role::Code, "small"), "coder");
        assert_eq!(pick(Role::General, ""), "large");
        assert_eq!(pick(Role::General, "small"), "small", "what is loaded answers at once");
        assert_eq!(pick(Role::Reasoning, ""), "large", "no model is made for that");
        assert!(choose(&[], Role::Code).is_none());
    }
}
