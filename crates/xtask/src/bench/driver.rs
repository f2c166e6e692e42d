//! A program that measures when it is told to: one line of JSON in, one line of JSON out.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::builder::Builder;

/// It ends when it is dropped.
pub struct Driver {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Driver {
    /// Starts it in the builder.
    pub fn start(builder: &Builder, program: &[&str]) -> Result<Self> {
        let mut command = builder.command(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.join(" ")))?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let input = child.stdin.take();
        Ok(Self { child, input, output })
    }

    /// What it measured.
    pub fn ask(&mut self, order: &Value) -> Result<Value> {
        let input = self.input.as_mut().context("it was ended")?;
        writeln!(input, "{order}").context("what measures has ended")?;
        input.flush()?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("what measures has ended; its error stands above");
        }
        serde_json::from_str(&line).with_context(|| format!("what measures says {line}"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The end of its input is the end of its work.
        self.input = None;
        if self.child.wait().is_err() {
            eprintln!("  what measures could not be ended");
        }
    }
}
