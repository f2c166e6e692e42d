//! The appliance from a shell.
//!
//! On the box it talks to the daemons' Unix sockets, where root is the owner; from elsewhere to the
//! portal's address with an API key. Programs read its exit status:
//!
//! | status | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the box could not do it, or is not well |
//! | 2 | the command line is wrong |
//! | 3 | nobody answers |
//! | 4 | not allowed: no key, or one without the scope |

mod arguments;
mod client;
mod commands;
mod connect;
mod errors;
mod prompt;
mod sse;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result};

pub use arguments::Arguments;
pub use errors::exit_code;

use client::{Client, Target};

/// Runs one command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let Arguments { root, url, api_key, ca, json, command } = arguments;
    let target = match url {
        Some(url) => Target::remote(&url, ca.as_deref())?,
        None => Target::Box { root },
    };
    let client = Client::new(target, api_key);
    let outcome = runtime.block_on(commands::run(&client, command, json));
    // A read of the terminal may still wait; the process ends without it.
    runtime.shutdown_background();
    outcome
}
