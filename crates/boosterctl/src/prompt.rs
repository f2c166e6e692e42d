//! Questions on the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, Result};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::errors::Usage;

/// Whether there is a terminal to ask on.
pub fn is_possible() -> bool {
    io::stdin().is_terminal()
}

/// Asks for a line.
pub fn line(question: &str) -> Result<String> {
    if !is_possible() {
        return Err(Usage(format!("there is no terminal to ask on: {question}")).into());
    }
    ask(question)
}

/// Asks for a password without showing it, or reads it from standard input.
pub fn password(question: &str, from_stdin: bool) -> Result<String> {
    if from_stdin {
        return read();
    }
    if !is_possible() {
        return Err(
            Usage("there is no terminal to ask for the password on; use --password-stdin".into()).into()
        );
    }
    let _silence = Silence::new().context("cannot hide the password")?;
    let password = ask(question);
    eprintln!();
    password
}

/// Asks for a new password, twice on a terminal, since nobody sees what is typed.
pub fn new_password(question: &str, from_stdin: bool) -> Result<String> {
    let first = password(question, from_stdin)?;
    if !from_stdin && password("Once more: ", false)? != first {
        return Err(Usage("the two passwords differ; nothing was changed".into()).into());
    }
    Ok(first)
}

fn ask(question: &str) -> Result<String> {
    // Standard output may be a file that wants the answer only.
    eprint!("{question}");
    io::stderr().flush()?;
    read()
}

fn read() -> Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("cannot read standard input")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// The terminal without echo, until dropped.
struct Silence {
    before: Termios,
}

impl Silence {
    fn new() -> nix::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Nothing better can be done with a terminal that is gone.
        _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.before);
    }
}
