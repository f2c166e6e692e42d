//! Formatting, licences, lints and the crates' own tests.

use anyhow::Result;

use super::{Tally, counted};
use crate::builder::Builder;

const CARGO_DENY: &str = "0.20.2";

pub fn run(builder: &Builder) -> Result<Tally> {
    let mut tally = Tally::default();
    tally.check(
        "the code is formatted",
        builder.run("cargo fmt", "fmt", &["cargo", "fmt", "--all", "--check"]),
    );
    tally.check("licences and sources of dependencies", deny(builder));
    tally.check(
        "clippy finds nothing",
        builder.run(
            "cargo clippy (the first time compiles llama.cpp)",
            "clippy",
            &[
                "cargo",
                "clippy",
                "--release",
                "--locked",
                "--workspace",
                "--all-targets",
                "--color=never",
                "--",
                "-D",
                "warnings",
            ],
        ),
    );
    // The programs first: tests of one program may start another.
    crate::payload::compile(builder)?;
    tally += counted(
        builder,
        "cargo test",
        "cargo-test",
        &["cargo", "test", "--release", "--locked", "--workspace", "--no-fail-fast", "--color=never"],
    )?;
    Ok(tally)
}

fn deny(builder: &Builder) -> Result<()> {
    let tool = builder.cache().join("tools/bin/cargo-deny");
    if !tool.exists() {
        builder.run(
            "compiling cargo-deny",
            "cargo-deny-install",
            &[
                "env",
                "CARGO_TARGET_DIR=/cache/target/cargo-deny",
                "cargo",
                "install",
                "cargo-deny",
                "--version",
                CARGO_DENY,
                "--locked",
                "--debug",
                "--no-default-features",
                "--root",
                "/cache/tools",
            ],
        )?;
    }
    builder.run(
        "cargo deny",
        "deny",
        &["/cache/tools/bin/cargo-deny", "check", "licenses", "bans", "sources"],
    )
}
