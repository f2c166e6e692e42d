//! The commands.

mod account;
mod ask;
mod camera;
mod config;
mod console;
mod keys;
mod model;
mod power;
mod reports;
mod settings;
mod slot;
mod status;
mod storage;
mod time;
mod vision;

use std::process::ExitCode;

use anyhow::Result;

use crate::arguments::{Command, Config};
use crate::client::Client;

/// Runs a command against a box.
pub async fn run(client: &Client, command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Status { wait } => return status::status(client, wait, json).await,
        Command::Claim { name, code, password } => {
            account::claim(client, &name, code, password.password_stdin, json).await?;
        }
        Command::Whoami => account::whoami(client, json).await?,
        Command::Hardware { scan: true } => reports::scan(client, json)?,
        Command::Hardware { scan: false } => reports::hardware(client, json).await?,
        Command::Provisioning => reports::provisioning(client, json).await?,
        Command::Models => reports::models(client, json).await?,
        Command::Model(command) => model::run(client, command, json).await?,
        Command::Ask { prompt, model, max_tokens } => {
            return ask::ask(client, &prompt, &model, max_tokens, json).await;
        }
        Command::Camera(command) => camera::run(client, command, json).await?,
        Command::Vision(command) => return vision::run(client, command, json).await,
        Command::Storage { command } => storage::run(client, command, json).await?,
        Command::Keys(command) => keys::run(client, command, json).await?,
        Command::Settings(command) => settings::run(client, command, json).await?,
        Command::Time { set } => time::run(client, set.as_deref(), json).await?,
        Command::Owner(command) => account::owner(client, command, json).await?,
        Command::Config(Config::Check) => return config::check(client, json),
        Command::Slot { command } => return slot::run(client, command, json).await,
        Command::Power(action) => power::power(client, action, json).await?,
        Command::Console => console::run(client).await?,
    }
    Ok(ExitCode::SUCCESS)
}
