//! The table of routes: what the worker answers over HTTP, who may ask it, and by which function.
//!
//! A row's scopes and limits are judged before anything of a body is read.

use actionbooster_chassis::Service;
use actionbooster_chassis::auth::Scope::{Admin, Infer, Read};
use actionbooster_chassis::routes::Access::{Local, Public};
use actionbooster_chassis::routes::{Route, delete, get, post};

use crate::{Shared, deepstack, http, records};

/// Pictures of HTTP requests at most.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// The service of this table. Where it has no route, a key needs the scope `infer` below the paths of detection, and
/// `read` elsewhere, to be told so.
pub(crate) fn service(worker: Shared) -> Service {
    Service::of(table(), worker)
        .body_limit(BODY_LIMIT)
        .scope(Infer, &["/v1/"])
        .error_shape("/v1/vision/", deepstack::error_shape)
}

#[rustfmt::skip]
fn table() -> Vec<Route<Shared>> {
    use deepstack::error_shape as deepstacks;
    vec![
        post("/v1/detection", Infer, http::detection),

        // DeepStack. Its forms hold the key, so these functions look for it: they need `infer` too.
        post("/v1/vision/detection", Public, deepstack::detection).errors(deepstacks),
        post("/v1/vision/custom/list", Public, deepstack::list).errors(deepstacks),
        post("/v1/vision/custom/{name}", Public, deepstack::custom).errors(deepstacks),
        get("/v1/status/ping", Public, deepstack::ping).errors(deepstacks),

        get("/api/v1/detectors", Read, http::detectors),
        delete("/api/v1/detectors/records", Admin, records::clear),
        get("/usage", Local, records::usage),
    ]
}

#[cfg(test)]
mod tests;
