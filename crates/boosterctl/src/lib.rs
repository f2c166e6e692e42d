//! `boosterctl`: talks to the daemons over their Unix sockets.
//!
//! Exit status: 0 done, 1 failed, 2 wrong arguments, 3 the daemon cannot be reached, 4 refused.
//! Root on the box may do everything; others give an API key with `--api-key` or `BOOSTER_API_KEY`.

use std::time::Duration;

use actionbooster_chassis::Paths;
use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};

mod client;
mod config;
mod console;
mod show;

use client::Client;
pub use client::Failure;

/// The command line.
#[derive(Parser)]
#[command(name = "boosterctl", version, about = "Everything the portal can do, from a shell on the box")]
pub struct Arguments {
    /// API key; root on the box needs none.
    #[arg(long, env = "BOOSTER_API_KEY", global = true, hide_env_values = true)]
    api_key: Option<String>,
    /// Print the daemon's own JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// State of every part of the box.
    Health {
        /// Wait up to this many seconds until everything works.
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u64>,
    },
    /// What this machine is.
    Hardware,
    /// What the provisioner decided, and why.
    Provisioning,
    /// The models of the store.
    Models,
    /// Ask models a question.
    Ask {
        /// The question.
        prompt: String,
        /// A model to ask; may be repeated. All when absent.
        #[arg(long)]
        model: Vec<String>,
    },
    /// API keys.
    #[command(subcommand)]
    Keys(Keys),
    /// The owner's settings.
    #[command(subcommand)]
    Settings(Settings),
    /// The owner.
    #[command(subcommand)]
    Owner(Owner),
    /// The daemons' configuration.
    #[command(subcommand)]
    Config(Config),
    /// Restart the box or switch it off.
    Power {
        /// What to do.
        action: Power,
    },
    /// The program of the box's own screen: address, claim code and a small menu.
    Console,
}

#[derive(Subcommand)]
enum Keys {
    /// Every key, without its secret.
    List,
    /// Make a key; it is shown once.
    Create {
        /// Name, to recognise it by.
        name: String,
        /// What it may be used for: infer, jobs, read, admin.
        #[arg(required = true)]
        scopes: Vec<String>,
    },
    /// Revoke a key.
    Revoke {
        /// Identifier, from `keys list`.
        id: String,
    },
}

#[derive(Subcommand)]
enum Settings {
    /// Show them.
    Get,
    /// Change some.
    Set {
        /// Whether connections beyond the LAN may be opened.
        #[arg(long)]
        online: Option<bool>,
        /// Name of the box on the network.
        #[arg(long)]
        hostname: Option<String>,
    },
}

#[derive(Subcommand)]
enum Owner {
    /// Forget the owner, so that the box can be claimed anew. Only root on the box may.
    Reset,
}

#[derive(Subcommand)]
enum Config {
    /// Name file, line and field of every mistake.
    Check,
}

#[derive(ValueEnum, Clone, Copy)]
enum Power {
    /// Restart.
    Reboot,
    /// Switch off.
    Poweroff,
}

/// Runs one command.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let paths = Paths::from_environment();
    let monitor = Client::new(paths.socket("monitor"), arguments.api_key.clone());
    let agent = Client::new(paths.socket("agent"), arguments.api_key);
    let answer = match arguments.command {
        Command::Health { wait } => return health(&monitor, wait, arguments.json).await,
        Command::Console => return console::run(&paths, &monitor).await,
        Command::Config(Config::Check) => return config::check(),
        Command::Ask { prompt, model } => {
            let mut body = json!({"prompt": prompt});
            if !model.is_empty() {
                body["models"] = json!(model);
            }
            agent.send("POST", "/query", Some(&body)).await?
        }
        Command::Models => agent.send("GET", "/api/v1/models", None).await?,
        Command::Hardware => monitor.send("GET", "/api/v1/hardware", None).await?,
        Command::Provisioning => monitor.send("GET", "/api/v1/provisioning", None).await?,
        Command::Keys(Keys::List) => monitor.send("GET", "/api/v1/keys", None).await?,
        Command::Keys(Keys::Create { name, scopes }) => {
            monitor.send("POST", "/api/v1/keys", Some(&json!({"name": name, "scopes": scopes}))).await?
        }
        Command::Keys(Keys::Revoke { id }) => {
            monitor.send("DELETE", &format!("/api/v1/keys/{id}"), None).await?
        }
        Command::Settings(Settings::Get) => monitor.send("GET", "/api/v1/settings", None).await?,
        Command::Settings(Settings::Set { online, hostname }) => {
            let mut change = json!({});
            if let Some(online) = online {
                change["online"] = online.into();
            }
            if let Some(hostname) = hostname {
                change["hostname"] = hostname.into();
            }
            monitor.send("PATCH", "/api/v1/settings", Some(&change)).await?
        }
        Command::Owner(Owner::Reset) => monitor.send("POST", "/api/v1/owner/reset", Some(&json!({}))).await?,
        Command::Power { action } => {
            let action = match action {
                Power::Reboot => "reboot",
                Power::Poweroff => "poweroff",
            };
            monitor.send("POST", "/api/v1/power", Some(&json!({"action": action}))).await?
        }
    };
    print_answer(&answer, arguments.json);
    Ok(())
}

fn print_answer(answer: &Value, as_json: bool) {
    if as_json {
        println!("{answer}");
    } else {
        print!("{}", show::text(answer));
    }
}

/// Asks until everything works or the time is over.
async fn health(monitor: &Client, wait: Option<u64>, as_json: bool) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(wait.unwrap_or(0));
    loop {
        let outcome = monitor.send("GET", "/health", None).await;
        let works = outcome.as_ref().is_ok_and(|report| report["status"] == "ok");
        if works || tokio::time::Instant::now() >= deadline {
            let report = outcome?;
            print_answer(&report, as_json);
            return if works { Ok(()) } else { Err(Failure::Failed("not everything works".into())) };
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
