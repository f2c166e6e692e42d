//! The table of routes: what the agent answers, who may ask it, and by which function.
//!
//! A row's scopes and limits are judged before anything of a body is read.

use std::time::Duration;

use actionbooster_chassis::Service;
use actionbooster_chassis::auth::Scope::{Admin, Infer, Jobs, Read};
use actionbooster_chassis::routes::Access::{Either, Local};
use actionbooster_chassis::routes::{Route, delete, get, patch, post, put};

use crate::api::generation::{assets, generations, text};
use crate::api::{anthropic, ollama, openai};
use crate::cameras::{kept, routes as cameras};
use crate::library::{self, PIECE, catalog, detectors, imports, manage, uploads};
use crate::state::Agent;
use crate::{conversations, events, query, usage};

/// Requests larger than this hold no question anybody reads.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// Bytes of a turn of a conversation, as they are sent: more than are kept, since JSON may write a letter with six.
const TURN: usize = 2 * 1024 * 1024;

/// How long an answer that comes as a whole may take: a little less than nginx waits (`agent-proxy.conf`), so that who
/// asked hears of it from here.
const ANSWER_LIMIT: Duration = Duration::from_secs(3590);

/// The service of this table. Where it has no route, a key needs the scope `infer` below the paths of dialects and
/// generations, and `read` elsewhere, to be told so.
pub(crate) fn service(agent: Agent) -> Service {
    Service::of(table(), agent)
        .body_limit(BODY_LIMIT)
        .answer_limit(ANSWER_LIMIT)
        .scope(Infer, &["/v1/", "/text/", "/image/", "/video/", "/agent/"])
        .scope(Infer, &["/api/v1/assets/", "/api/v1/conversations/", "/api/v1/generations/"])
        // The first that fits counts.
        .error_shape("/v1/messages", anthropic::error_shape)
        .error_shape("/v1/", openai::error_shape)
}

#[rustfmt::skip]
fn table() -> Vec<Route<Agent>> {
    use anthropic::error_shape as anthropics;
    use ollama::error_shape as ollamas;
    use openai::error_shape as openais;
    let made = Either(Infer, Jobs);
    vec![
        post("/query", Infer, query::query),
        post("/api/v1/query", Infer, query::route),
        get("/api/v1/events", Read, events::events),
        get("/usage", Local, usage::usage),

        // OpenAI
        post("/v1/chat/completions", Infer, openai::chat).errors(openais),
        post("/v1/responses", Infer, openai::responses::create).errors(openais),
        get("/v1/responses/{id}", Infer, openai::responses::show).errors(openais),
        delete("/v1/responses/{id}", Infer, openai::responses::remove).errors(openais),
        post("/v1/completions", Infer, openai::completions).errors(openais),
        post("/v1/embeddings", Infer, openai::embeddings).errors(openais),
        get("/v1/models", Infer, openai::models).errors(openais),
        get("/v1/models/{id}", Infer, openai::model).errors(openais),

        // Anthropic
        post("/v1/messages", Infer, anthropic::messages).errors(anthropics),
        post("/v1/messages/count_tokens", Infer, anthropic::count_tokens).errors(anthropics),

        // Ollama
        get("/api/version", Infer, ollama::version).errors(ollamas),
        get("/api/tags", Infer, ollama::tags).errors(ollamas),
        post("/api/show", Infer, ollama::show).errors(ollamas),
        get("/api/ps", Infer, ollama::ps).errors(ollamas),
        post("/api/chat", Infer, ollama::chat).errors(ollamas),
        post("/api/generate", Infer, ollama::generate).errors(ollamas),
        post("/api/embed", Infer, ollama::embed).errors(ollamas),
        post("/api/embeddings", Infer, ollama::embed_one).errors(ollamas),
        post("/api/pull", Admin, library::pull).errors(ollamas),
        delete("/api/delete", Admin, library::delete).errors(ollamas),
        post("/api/copy", Admin, library::copy).errors(ollamas),

        // The store
        get("/api/v1/models", Read, library::list),
        get("/api/v1/models/running", Read, manage::running),
        get("/api/v1/models/catalog", Read, catalog::list),
        get("/api/v1/models/uploads", Admin, uploads::list),
        post("/api/v1/models/uploads", Admin, uploads::begin),
        get("/api/v1/models/uploads/{upload}", Admin, uploads::show),
        put("/api/v1/models/uploads/{upload}", Admin, uploads::add).body_limit(PIECE).streams_body(),
        delete("/api/v1/models/uploads/{upload}", Admin, uploads::abandon),
        post("/api/v1/models/uploads/{upload}/finish", Admin, uploads::finish),
        post("/api/v1/models/import", Admin, imports::begin),
        get("/api/v1/models/imports", Admin, imports::list),
        get("/api/v1/models/imports/{import}", Admin, imports::show),
        delete("/api/v1/models/imports/{import}", Admin, imports::cancel),
        get("/api/v1/models/{id}", Read, manage::show),
        patch("/api/v1/models/{id}", Admin, manage::change),
        delete("/api/v1/models/{id}", Admin, manage::remove),
        post("/api/v1/models/{id}/verify", Admin, manage::verify),
        get("/api/v1/models/{id}/classes", Read, detectors::classes),
        post("/api/v1/models/{id}/load", Infer, manage::load),
        post("/api/v1/models/{id}/unload", Admin, manage::unload),

        // Cameras
        get("/api/v1/cameras", Read, cameras::list),
        post("/api/v1/cameras", Admin, cameras::add),
        get("/api/v1/cameras/{id}", Read, cameras::show),
        put("/api/v1/cameras/{id}", Admin, cameras::change),
        delete("/api/v1/cameras/{id}", Admin, cameras::remove),
        get("/api/v1/cameras/{id}/live", Read, cameras::live),
        get("/api/v1/cameras/{id}/snapshot", Read, cameras::snapshot),
        get("/api/v1/cameras/{id}/sessions", Read, kept::list),
        delete("/api/v1/cameras/{id}/sessions", Admin, kept::clear),
        get("/api/v1/cameras/{id}/sessions/{session}", Read, kept::show),
        delete("/api/v1/cameras/{id}/sessions/{session}", Admin, kept::remove),
        get("/api/v1/cameras/{id}/sessions/{session}/{file}", Read, kept::file),

        // Conversations, each account its own
        get("/api/v1/conversations", Infer, conversations::list),
        delete("/api/v1/conversations", Infer, conversations::clear),
        get("/api/v1/conversations/export", Infer, conversations::export),
        delete("/api/v1/conversations/damaged", Admin, conversations::remove_damaged),
        get("/api/v1/conversations/{id}", Infer, conversations::show),
        put("/api/v1/conversations/{id}", Infer, conversations::put),
        delete("/api/v1/conversations/{id}", Infer, conversations::remove),
        put("/api/v1/conversations/{id}/turns/{turn}", Infer, conversations::put_turn).body_limit(TURN),
        delete("/api/v1/conversations/{id}/turns/{turn}", Infer, conversations::remove_turn),

        // Generations, and what they made
        post("/text/gen", Infer, text::text),
        post("/image/gen", made, generations::image),
        post("/video/gen", made, generations::video),
        post("/agent/character", made, generations::character),
        get("/api/v1/generations", made, generations::list),
        get("/api/v1/generations/{id}", made, generations::show),
        delete("/api/v1/generations/{id}", made, generations::cancel),
        get("/api/v1/workflows", made, generations::workflows),
        get("/api/v1/assets", made, assets::list),
        delete("/api/v1/assets", Admin, assets::clear),
        get("/api/v1/assets/{id}", made, assets::show),
        patch("/api/v1/assets/{id}", made, assets::change),
        delete("/api/v1/assets/{id}", made, assets::remove),
        get("/api/v1/assets/{id}/file", made, assets::file),
        get("/api/v1/assets/{id}/file/{name}", made, assets::named_file),
    ]
}

#[cfg(test)]
mod tests;
