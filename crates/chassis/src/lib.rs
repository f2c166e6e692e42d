//! What every daemon stands on: configuration, tracing, metrics, HTTP, authentication, life cycle.
//!
//! ```no_run
//! use actionbooster_chassis::{Boot, Service, auth::Scope, axum::{Router, routing::get}};
//!
//! #[derive(serde::Deserialize, Default)]
//! #[serde(default, deny_unknown_fields)]
//! struct Config { greeting: String }
//!
//! async fn start(boot: Boot<Config>) -> anyhow::Result<Service> {
//!     let greeting = boot.config.greeting;
//!     let router = Router::new().route("/hello", get(|| async move { greeting }));
//!     Ok(Service::new(router).scope(Scope::Read, &["/hello"]))
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     actionbooster_chassis::daemon("greeter", env!("CARGO_PKG_VERSION"), start)
//! }
//! ```

pub mod ages;
pub mod auth;
mod client;
mod config;
mod connection_limiter;
mod daemon;
pub mod health;
mod json;
mod layers;
mod limits;
mod paths;
mod problem;
mod serve;
mod service;
mod sockets;

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
