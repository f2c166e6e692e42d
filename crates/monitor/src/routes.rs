//! The table of routes: what the monitor answers, who may ask it, and by which function.

use actionbooster_chassis::Service;
use actionbooster_chassis::auth::Scope::{Admin, Read};
use actionbooster_chassis::routes::Access::Public;
use actionbooster_chassis::routes::{Route, delete, get, patch, post, put};

use crate::{Shared, keys, login, recovery_key, reports, reset, settings, storage, system, time};

/// The service of this table. Where it has no route, a key needs the scope `admin` below `/api/v1/`, and `read`
/// elsewhere, to be told so.
pub(crate) fn service(monitor: Shared) -> Service {
    Service::of(table(), monitor).scope(Admin, &["/api/v1/"])
}

#[rustfmt::skip]
fn table() -> Vec<Route<Shared>> {
    vec![
        // Who the owner is
        get("/api/v1/claim", Public, login::claim_state),
        post("/api/v1/claim", Public, login::claim),
        post("/api/v1/login", Public, login::login),
        post("/api/v1/logout", Admin, login::logout),
        get("/api/v1/session", Read, login::session),
        post("/api/v1/password", Admin, login::change_password),
        post("/api/v1/recovery-key", Admin, recovery_key::show),
        post("/api/v1/owner/reset", Admin, reset::reset_owner),
        get("/api/v1/keys", Admin, keys::list),
        post("/api/v1/keys", Admin, keys::create),
        delete("/api/v1/keys/{id}", Admin, keys::revoke),

        // The box
        get("/api/v1/provisioning", Read, reports::provisioning),
        get("/api/v1/hardware", Read, reports::hardware),
        get("/api/v1/settings", Admin, settings::show),
        patch("/api/v1/settings", Admin, settings::change),
        get("/api/v1/time", Admin, time::show),
        put("/api/v1/time", Admin, time::set),
        get("/api/v1/storage", Read, storage::show),
        post("/api/v1/power", Admin, system::power),
    ]
}
