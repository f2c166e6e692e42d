//! Three models in a budget for two, asked at random; and what the agent adds to its runner.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::paired::{Estimate, Goal};
use super::{Bench, Row};
use crate::appliance::Ports;
use crate::builder::hex;
use crate::dev::Session;
use crate::payload;
use crate::progress::step;

const PORTS: Ports = Ports { https: 17443, http: 17480, worker: Some(17701) };
const MODELS: [&str; 3] = ["first", "second", "third"];
/// Tokens of context of each, so that a model counts with about 140 MiB.
const CONTEXT: u32 = 16_384;
/// Room for two of them and not for three.
const BUDGET: u64 = 330_000_000;
const REQUESTS: u32 = 200;
const CLIENTS: u32 = 4;
const SEED: u32 = 20;

/// What the client saw.
#[derive(Deserialize)]
struct Seen {
    failures: u32,
    first_failure: Option<String>,
    evictions: f64,
    fewest_evictions: f64,
    highest_bytes: f64,
    /// Of blocks of requests, the medians.
    overhead_ms: Vec<f64>,
    resident_bytes: f64,
}

pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let builder = bench.builder;
    payload::compile(builder)?;
    payload::build_portal(builder)?;
    let mut session = Session::start_with(builder, PORTS, |root| prepare(builder.checkout(), root))?;
    let code = session.claim_code()?;
    let key = session.reach()?.claim(&code)?.api_key.context("no API key")?;
    let folder = builder.cache().join("bench");
    fs::create_dir_all(&folder)?;
    let plan = json!({
        "socket": builder.inside(&session.socket("agent"))?,
        "key": key,
        "models": MODELS,
        "requests": REQUESTS,
        "clients": CLIENTS,
        "seed": SEED,
    });
    let path = folder.join("mixed.json");
    fs::write(&path, plan.to_string())?;
    let inside = builder.inside(&path)?.display().to_string();
    let label = format!("{REQUESTS} requests to three models in a budget for two");
    let printed = step(&label, || builder.output(&["python3", "-B", "tests/bench/mixed.py", &inside]))?;
    session.alive()?;
    session.stop()?;
    let seen: Seen = serde_json::from_str(&printed)?;
    if let Some(failure) = &seen.first_failure {
        println!("  the first failure: {failure}");
    }
    // An order that needs none leaves nothing to divide by.
    let ratio = seen.evictions / seen.fewest_evictions.max(1.0);
    let overhead = Estimate::of(&seen.overhead_ms);
    Ok(vec![
        Row::single("mixed: failed requests", f64::from(seen.failures), "", Goal::AtMost(0.0)),
        Row::single("mixed: most memory / budget", seen.highest_bytes / BUDGET as f64, "", Goal::AtMost(1.0)),
        Row::plain(
            "mixed: evictions, and the fewest possible",
            seen.evictions,
            "",
            Some(seen.fewest_evictions),
        ),
        Row::single("mixed: evictions / fewest possible", ratio, "", Goal::AtMost(1.2)),
        Row::estimate("agent on top of its runner", overhead, "ms", Some(Goal::AtMost(0.5))),
        Row::single("agent's resident memory", seen.resident_bytes / 1e6, "MB", Goal::AtMost(20.0)),
    ])
}

/// The guide under three names, and a budget for two.
fn prepare(checkout: &Path, root: &Path) -> Result<()> {
    let guide = fs::read(checkout.join("tests/models/guide/guide.gguf")).context("the guide is not there")?;
    let digest = hex(&Sha256::digest(&guide));
    for id in MODELS {
        let folder = root.join("var/lib/actionbooster/models").join(id);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("model.gguf"), &guide)?;
        let manifest = format!(
            "id = \"{id}\"\nname = \"Guide\"\nfile = \"model.gguf\"\nsha256 = \"{digest}\"\n\
             size_bytes = {}\nlicence = \"MIT\"\ncontext_tokens = {CONTEXT}\n",
            guide.len()
        );
        fs::write(folder.join("manifest.toml"), manifest)?;
    }
    fs::write(root.join("etc/actionbooster/agent.toml"), format!("model_budget_bytes = {BUDGET}\n"))?;
    Ok(())
}
