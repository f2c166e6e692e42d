//! What every daemon stands on: configuration, tracing, metrics, HTTP, authentication, life cycle.
//!
//! ```no_run
//! use actionbooster_chassis::{Boot, Service, auth::Scope, routes::get};
//!
//! #[derive(serde::Deserialize, Default)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config { greeting: String }
//!
//! async fn start(boot: Boot<Config>) -> anyhow::Result<Service> {
//!     let greeting = boot.config.greeting;
//!     Ok(Service::of(vec![get("/hello", Scope::Read, || async move { greeting })], ()))
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     actionbooster_chassis::daemon("greeter", env!("CARGO_PKG_VERSION"), start)
//! }
//! ```

pub mod ages;
pub mod auth;
mod body;
mod client;
mod config;
mod connection_limiter;
mod daemon;
mod fair_share;
pub mod health;
mod holding_body;
mod json;
mod layers;
mod limits;
mod memory_budget;
mod paths;
mod problem;
mod request_limiter;
pub mod routes;
mod serve;
mod service;
mod sockets;
mod suggestion;

pub use axum;

pub use client::Client;
pub use config::{ConfigError, load};
pub use daemon::{Boot, daemon, trace};
pub use json::Json;
pub use layers::unix_now;
pub use paths::{Paths, ROOT_VARIABLE};
pub use problem::Problem;
pub use service::{DEFAULT_BODY_LIMIT, Service};
pub use sockets::Address;
