//! The box's own console: where the portal is, and the few things that need no login because
//! whoever stands at the machine owns it anyway.
//!
//! There is no shell behind it. The page itself is written by the provisioner.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::account::{self, SshTrouble};
use super::{power, status};
use crate::arguments::Power;
use crate::client::Client;
use crate::table::{cell, plain};

/// How often the page and the state are looked at while nobody types.
const GLANCE: Duration = Duration::from_secs(2);
/// What must be typed before the owner is forgotten, with every key or with none.
const RESET: &str = "RESET";
const RESET_KEEPING_KEYS: &str = "KEEP";
/// Nothing that is typed here is longer.
const LONGEST_LINE: usize = 64;
/// Clears the screen, and what was scrolled off it: a claim code should not stay there.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";
const MENU: &str = "  \
  1  Show this again / Mostrar esto otra vez
  2  Forgot the password: reset the owner / Olvidé la contraseña: restablecer el propietario
  3  Restart / Reiniciar
  4  Switch off / Apagar
  5  Factory reset / Restablecer de fábrica

> ";
const FACTORY_RESET: &str = "
  Restart, press Esc again and again while the box starts, and choose:
  Reinicie, pulse Esc varias veces mientras arranca, y elija:

    Factory reset: remove settings and accounts, keep models
    Factory reset: remove everything
    Factory reset: encrypt the disk, remove everything
";

/// Runs on this terminal until it is gone.
pub async fn run(client: &Client) -> Result<()> {
    let root = client.root().context("the console is a box's own; leave --url out")?.to_owned();
    let page = root.join("run/actionbooster/console.txt");
    let mut console = Console {
        client,
        page: &page,
        input: BufReader::new(tokio::io::stdin()),
        output: tokio::io::stdout(),
    };
    console.run().await
}

struct Console<'a, I, O> {
    client: &'a Client,
    page: &'a Path,
    input: I,
    output: O,
}

impl<I: AsyncBufRead + Unpin, O: AsyncWrite + Unpin> Console<'_, I, O> {
    async fn run(&mut self) -> Result<()> {
        loop {
            let Some(choice) = self.choose().await? else { return Ok(()) };
            match choice.as_str() {
                "2" => self.reset().await?,
                "3" => self.power(Power::Reboot, "Restart / Reiniciar").await?,
                "4" => self.power(Power::Poweroff, "Switch off / Apagar").await?,
                "5" => self.tell(FACTORY_RESET).await?,
                _ => {}
            }
        }
    }

    /// Shows the page until something is typed, and again when it changes. `None` at the end of input.
    async fn choose(&mut self) -> Result<Option<String>> {
        let mut shown = String::new();
        let mut typed = Vec::new();
        loop {
            let page = self.current().await;
            // Redrawing under somebody's fingers would lose what they see of their typing.
            if page != shown && typed.is_empty() {
                self.write(&format!("{CLEAR}{page}{MENU}")).await?;
                shown = page;
            }
            if let Ok(line) = timeout(GLANCE, read_line(&mut self.input, &mut typed)).await {
                return line.context("cannot read the keyboard");
            }
        }
    }

    async fn current(&self) -> String {
        let page = tokio::fs::read_to_string(self.page).await;
        let page = if let Ok(text) = page {
            plain(&text)
        } else {
            let version = env!("CARGO_PKG_VERSION");
            format!("\nActionBooster {version}\n\n  Getting ready / Preparándose …\n\n")
        };
        let mut text = page;
        for (index, line) in status::summary(self.client).await.iter().enumerate() {
            let name = if index == 0 { "State / Estado" } else { "" };
            // Writing to a string cannot fail.
            _ = writeln!(text, "  {name:<20} {}", plain(line));
        }
        text.push('\n');
        text
    }

    async fn reset(&mut self) -> Result<()> {
        let question = format!(
            "\n  The owner's name, password and sessions are forgotten. The keys of programs (API) and of SSH\n  \
             are revoked, so that nobody who has one gets in. Models and settings stay.\n  \
             Se olvidan el nombre, la contraseña y las sesiones. Las claves de programas (API) y de SSH se\n  \
             revocan, para que no entre nadie que las tenga. Modelos y ajustes se conservan.\n\n  \
             To go on type {RESET}; to keep the keys type {RESET_KEEPING_KEYS}.\n  \
             Para seguir escriba {RESET}; para conservar las claves escriba {RESET_KEEPING_KEYS}: "
        );
        let keep_keys = match self.ask(&question).await?.as_str() {
            RESET => false,
            RESET_KEEPING_KEYS => true,
            _ => return self.tell("\n  Nothing was changed. / No se ha cambiado nada.\n").await,
        };
        match account::reset(self.client, keep_keys).await {
            Ok(answer) => self.tell(&after_reset(&answer)).await,
            Err(error) => self.tell(&format!("\n  {}\n", plain(&format!("{error:#}")))).await,
        }
    }

    async fn power(&mut self, action: Power, name: &str) -> Result<()> {
        let question = format!("\n  {name}? Type yes / Escriba sí: ");
        if !matches!(self.ask(&question).await?.to_lowercase().as_str(), "y" | "yes" | "s" | "si" | "sí") {
            return Ok(());
        }
        if let Err(error) = power::request(self.client, action).await {
            return self.tell(&format!("\n  {}\n", plain(&format!("{error:#}")))).await;
        }
        self.tell("\n  …\n").await
    }

    /// Shows something until Enter is pressed.
    async fn tell(&mut self, text: &str) -> Result<()> {
        self.ask(&format!("{text}\n  Enter … ")).await.map(drop)
    }

    async fn ask(&mut self, question: &str) -> Result<String> {
        self.write(question).await?;
        let mut typed = Vec::new();
        let line = read_line(&mut self.input, &mut typed).await.context("cannot read the keyboard")?;
        Ok(line.unwrap_or_default())
    }

    async fn write(&mut self, text: &str) -> Result<()> {
        self.output.write_all(text.as_bytes()).await.context("cannot write to the screen")?;
        self.output.flush().await.context("cannot write to the screen")
    }
}

fn after_reset(answer: &Value) -> String {
    let code = plain(&cell(&answer["claim_code"]));
    let mut text = format!("\n  New claim code / Código nuevo: {code}\n");
    if answer["keys_kept"] == true {
        text.push_str("  The keys were kept. / Las claves se han conservado.\n");
    } else {
        let count = |kind: &str| plain(&cell(&answer["revoked"][kind]));
        // Writing to a string cannot fail.
        _ = writeln!(text, "  Revoked / Revocado: API {}, SSH {}", count("api_keys"), count("ssh_keys"));
    }
    match account::ssh_trouble(answer) {
        None => {}
        Some(SshTrouble::Damaged) => text.push_str(
            "  The settings are damaged: SSH keys stay. Do a factory reset of the settings.\n  \
             Los ajustes están dañados: las claves SSH siguen. Restablezca los ajustes de fábrica.\n",
        ),
        Some(SshTrouble::Pending) => text.push_str(
            "  Restart the box: until then SSH accepts the old keys.\n  \
             Reinicie el equipo: hasta entonces SSH acepta las claves antiguas.\n",
        ),
    }
    text
}

/// A line without its end; `typed` keeps what came before a cancellation.
async fn read_line(
    input: &mut (impl AsyncBufRead + Unpin),
    typed: &mut Vec<u8>,
) -> std::io::Result<Option<String>> {
    loop {
        let available = input.fill_buf().await?;
        if available.is_empty() {
            return Ok(None);
        }
        let end = available.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let taken = end.map_or(available.len(), |end| end + 1);
        let room = LONGEST_LINE.saturating_sub(typed.len());
        typed.extend_from_slice(&available[..end.unwrap_or(available.len()).min(room)]);
        input.consume(taken);
        if end.is_some() {
            return Ok(Some(String::from_utf8_lossy(typed).trim().to_owned()));
        }
    }
}
