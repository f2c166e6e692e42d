//! A whole daemon: settings, sockets, authentication, metrics, health and a clean end.

use std::process::ExitCode;

use actionbooster_chassis::auth::{Caller, Scope};
use actionbooster_chassis::health::Status;
use actionbooster_chassis::routes::get;
use actionbooster_chassis::{Boot, Service};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// The word before the caller's name.
    greeting: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { greeting: "Hello".into() }
    }
}

async fn start(boot: Boot<Config>) -> anyhow::Result<Service> {
    let greeting = boot.config.greeting;
    let greet = move |caller: Caller| async move { format!("{greeting}, {}", caller.label()) };
    boot.health.set("voice", Status::Ok, "");
    Ok(Service::of(vec![get("/hello", Scope::Read, greet)], ()))
}

fn main() -> ExitCode {
    actionbooster_chassis::daemon("greeter", env!("CARGO_PKG_VERSION"), start)
}
