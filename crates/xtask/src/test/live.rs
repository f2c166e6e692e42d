//! The daemons running natively: real clients, then a real browser.

use anyhow::Result;

use super::{Tally, counted};
use crate::appliance::{Ports, Ready};
use crate::builder::Builder;
use crate::detectors;
use crate::dev::Session;
use crate::payload;

/// Not the ports of `dev`, so that one may run beside the tests.
const PORTS: Ports = Ports { https: 18443, http: 18480, worker: Some(18701) };

pub fn run(builder: &Builder) -> Result<Tally> {
    payload::compile(builder)?;
    payload::build_portal(builder)?;
    let mut tally = clients(builder)?;
    tally += browser(builder)?;
    Ok(tally)
}

fn clients(builder: &Builder) -> Result<Tally> {
    let mut session = Session::start_with(builder, PORTS, |root| detectors::add(builder, root))?;
    let code = session.claim_code()?;
    let ready = session.reach()?.claim(&code)?;
    ready.inside(builder)?.write(&builder.cache().join("ready-clients.json"))?;
    let mut tally = run_clients(builder, "/cache/ready-clients.json")?;
    tally += javascript(builder, "/cache/ready-clients.json", &ready)?;
    session.stop()?;
    Ok(tally)
}

/// The official client for JavaScript; Node takes authorities from its environment.
fn javascript(builder: &Builder, path: &str, ready: &Ready) -> Result<Tally> {
    builder.run(
        "installing the client for JavaScript",
        "clients-js-install",
        &["npm", "--prefix", "tests/clients/js", "ci", "--no-audit", "--no-fund"],
    )?;
    let authority = ready.inside(builder)?.ca_cert.display().to_string();
    let authority = format!("NODE_EXTRA_CA_CERTS={authority}");
    let script = ["env", &authority, "node", "tests/clients/js/openai.mjs", path];
    counted(builder, "the client for JavaScript", "clients-js", &script)
}

/// Runs the real client libraries against whatever a ready file describes.
pub fn run_clients(builder: &Builder, ready: &str) -> Result<Tally> {
    let python = environment(builder)?;
    counted(builder, "real clients", "clients", &[&python, "tests/clients/run.py", ready])
}

/// The Python that has the real clients' packages.
pub fn environment(builder: &Builder) -> Result<String> {
    let script = "set -e; test -x /cache/venv-clients/bin/python || python3 -m venv /cache/venv-clients; \
         exec /cache/venv-clients/bin/pip install -q -r tests/clients/requirements.txt";
    builder.run("installing the real clients", "clients-install", &["sh", "-c", script])?;
    Ok("/cache/venv-clients/bin/python".into())
}

fn browser(builder: &Builder) -> Result<Tally> {
    let mut session = Session::start(builder, PORTS)?;
    let code = session.claim_code()?;
    let ready = session.reach()?.unclaimed(&code);
    ready.inside(builder)?.write(&builder.cache().join("ready-browser.json"))?;
    builder.run(
        "installing what drives the browser",
        "browser-install",
        &["npm", "--prefix", "tests/portal", "ci", "--no-audit", "--no-fund"],
    )?;
    let tally = counted(
        builder,
        "the portal in Chromium",
        "browser",
        &[
            "npm",
            "--prefix",
            "tests/portal",
            "test",
            "--silent",
            "--",
            "/cache/ready-browser.json",
            // Pictures of every view, to look at.
            "--shots",
            "/cache/shots",
        ],
    )?;
    session.stop()?;
    Ok(tally)
}
