//! The command line.

mod camera;
mod slot;
mod storage;
mod vision;

use std::path::PathBuf;

pub use camera::{Camera, Opening, Options as CameraOptions, Place};
pub use slot::{Slot, Wait};
pub use storage::Storage;
pub use vision::Vision;

use clap::{ArgAction, Args, Parser, Subcommand};

/// Everything the portal can do, scriptable.
#[derive(Debug, Parser)]
#[command(
    name = "boosterctl",
    version,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong command line, 3 nobody answers, 4 not allowed."
)]
pub struct Arguments {
    /// Folder below which the box's files are.
    #[arg(long, global = true, env = "ACTIONBOOSTER_ROOT", default_value = "/", value_name = "FOLDER")]
    pub root: PathBuf,
    /// Another box, such as https://actionbooster-1a2b.local.
    #[arg(long, global = true, env = "BOOSTER_URL", value_name = "URL")]
    pub url: Option<String>,
    /// API key made in the portal; root on the box needs none.
    #[arg(long, global = true, env = "BOOSTER_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Certificate authority to trust for --url: the file the box hands out at http://…/ca.
    #[arg(long, global = true, env = "BOOSTER_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say whether the box is well.
    #[command(alias = "health")]
    Status {
        /// Wait up to this many seconds until it is.
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u64>,
    },
    /// Become the owner of a new box.
    Claim {
        /// Name of the owner.
        #[arg(long)]
        name: String,
        /// The code on the box's screen; asked for when absent.
        #[arg(long)]
        code: Option<String>,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Say who is asking, and what they may do.
    Whoami,
    /// Show what the machine is.
    Hardware {
        /// Look at this machine now, without the daemons.
        #[arg(long)]
        scan: bool,
    },
    /// Show how the box set itself up, and why.
    Provisioning,
    /// List the models.
    Models,
    /// Add, look at, change and remove models.
    #[command(subcommand)]
    Model(Model),
    /// Ask models a question.
    Ask {
        /// The question; `-` reads it from standard input.
        prompt: String,
        /// Model to ask, repeatable; all chosen models when absent.
        #[arg(long, value_name = "ID")]
        model: Vec<String>,
        /// Longest answer, in tokens.
        #[arg(long, value_name = "N")]
        max_tokens: Option<u32>,
    },
    /// Add, watch, change and remove cameras.
    #[command(subcommand)]
    Camera(Camera),
    /// Find things in pictures, and try whether that works.
    #[command(subcommand)]
    Vision(Vision),
    /// Show what takes the space of the disk, and free it.
    Storage {
        /// What to do; shows it when absent.
        #[command(subcommand)]
        command: Option<Storage>,
    },
    /// Make, list and revoke API keys.
    #[command(subcommand)]
    Keys(Keys),
    /// Show and change settings.
    #[command(subcommand)]
    Settings(Settings),
    /// Show the box's clock, or set it.
    Time {
        /// Set it to this moment, such as 2026-11-27T12:00:00Z; `now` is the clock of the machine that
        /// this command runs on.
        #[arg(long, value_name = "MOMENT")]
        set: Option<String>,
    },
    /// The owner's account.
    #[command(subcommand)]
    Owner(Owner),
    /// Configuration files.
    #[command(subcommand)]
    Config(Config),
    /// The two slots that the system lives in: which one runs, how far each is trusted, whether this one works.
    Slot {
        #[command(subcommand)]
        command: Option<Slot>,
    },
    /// Restart the box or switch it off.
    #[command(subcommand)]
    Power(Power),
    /// Run the box's console on this terminal.
    Console,
}

/// One model.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// List the models.
    List,
    /// List what can be fetched by name, and what suits this box.
    Catalog,
    /// Show what a model is and the memory it takes.
    Show {
        /// The model.
        id: String,
        /// For this many tokens of context.
        #[arg(long, value_name = "TOKENS")]
        context: Option<u32>,
        /// For this many requests at once.
        #[arg(long, value_name = "N")]
        slots: Option<u32>,
    },
    /// Add a model: a GGUF or ONNX file here, an address, or a name of the catalog. A file that broke off goes on.
    Add {
        /// File, https://… or name.
        source: String,
        /// What it will be called; made from the file's name when absent.
        #[arg(long)]
        id: Option<String>,
    },
    /// Say what is loaded, and the memory it takes.
    Running,
    /// Load a model now.
    Load {
        /// The model.
        id: String,
    },
    /// Unload a model now.
    Unload {
        /// The model.
        id: String,
        /// Even while it answers.
        #[arg(long)]
        force: bool,
    },
    /// Keep a model loaded whatever happens.
    Pin {
        /// The model.
        id: String,
    },
    /// Let a model go when its memory is needed.
    Unpin {
        /// The model.
        id: String,
    },
    /// Change how a model is used; `default` takes an option back.
    Set {
        /// The model.
        id: String,
        /// OPTION=VALUE: context_tokens, keep_alive_s, temperature, top_p, top_k, min_p, repeat_penalty, system.
        #[arg(required = true, value_name = "OPTION=VALUE")]
        options: Vec<String>,
    },
    /// Read a model's whole file and compare it with its checksum.
    Verify {
        /// The model.
        id: String,
    },
    /// Remove a model and its file.
    Remove {
        /// The model.
        id: String,
        /// Even while it answers.
        #[arg(long)]
        force: bool,
    },
}

/// Where a password comes from.
#[derive(Debug, Args)]
pub struct PasswordSource {
    /// Read the password from standard input instead of asking for it.
    #[arg(long)]
    pub password_stdin: bool,
}

/// API keys.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// List the keys.
    List,
    /// Make a key and print it; it is shown only this once.
    Create {
        /// What the key is for.
        name: String,
        /// What it may be used for: infer, jobs, interactive, read, admin; repeatable.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
    },
    /// Revoke a key.
    Revoke {
        /// Its id, from the list.
        id: String,
    },
}

/// Settings.
#[derive(Debug, Subcommand)]
pub enum Settings {
    /// Show the settings.
    Get,
    /// Change settings; what is not named stays.
    Set(Change),
}

/// Settings to change.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Change {
    /// Whether connections to the internet are allowed: true or false.
    #[arg(long, action = ArgAction::Set, value_name = "BOOL")]
    pub online: Option<bool>,
    /// Name of the box on the network.
    #[arg(long)]
    pub hostname: Option<String>,
    /// Time zone of the box, such as Europe/Madrid or UTC.
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// File with the public keys that may log in over SSH, one per line; an empty one switches SSH
    /// off, `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    pub ssh_keys: Option<PathBuf>,
}

/// The owner's account.
#[derive(Debug, Subcommand)]
pub enum Owner {
    /// Forget the owner, revoke every key, and print a new claim code; only root on the box may.
    Reset {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Leave the keys of programs and of SSH as they are.
        #[arg(long)]
        keep_keys: bool,
    },
    /// Change the owner's password.
    Password {
        /// Read both passwords from standard input, the current one first, a line each.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Print the recovery key of an encrypted disk; only root on the box needs no password.
    RecoveryKey {
        #[command(flatten)]
        password: PasswordSource,
    },
}

/// Configuration files.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Check every daemon's configuration and the owner's settings; a mistake is named with file and field.
    Check,
}

/// Power.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Power {
    /// Restart the box.
    Reboot,
    /// Switch the box off.
    Poweroff,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
