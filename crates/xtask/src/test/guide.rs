//! The built-in guide, asked through the real runner: held-back paraphrases and foreign questions.

use std::fs;

use anyhow::Result;

use super::{Tally, counted};
use crate::builder::Builder;
use crate::payload;

pub fn run(builder: &Builder) -> Result<Tally> {
    payload::compile(builder)?;
    let root = builder.cache().join("guide-check");
    fs::create_dir_all(&root)?;
    payload::install(builder, &root)?;
    counted(
        builder,
        "asking the guide its held-back questions",
        "guide",
        &[
            "sh",
            "-c",
            "set -e; python3 tests/models/guide/score.py --questions > /cache/guide-check/questions.jsonl; \
         /cache/guide-check/usr/bin/booster-runner complete \
           --model /cache/guide-check/usr/share/actionbooster/models/guide \
           --prompts /cache/guide-check/questions.jsonl > /cache/guide-check/answers.jsonl; \
         python3 tests/models/guide/score.py --answers /cache/guide-check/answers.jsonl",
        ],
    )
}
