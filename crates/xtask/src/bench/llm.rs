//! Our agent beside llama.cpp's own server: the same files, the same threads, the same questions in turn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::driver::Driver;
use super::paired::{Goal, Pairs, Rounds, measure};
use super::{Bench, Row};
use crate::appliance::Ports;
use crate::builder::{Builder, as_root, hex};
use crate::dev::Session;
use crate::payload;
use crate::progress::{logged, tail};

const PORTS: Ports = Ports { https: 17443, http: 17480, worker: Some(17701) };
const PEER_PORT: u16 = 17500;
/// Debian's release that carries llama.cpp.
const PEER_SUITE: &str = "forky";
const ROUNDS: Rounds = Rounds { least: 8, most: 24 };
/// Requests answered together, on both sides.
const SLOTS: u32 = 8;
/// Tokens of context of each, on both sides.
const CONTEXT: u32 = 5120;
const LOAD_LIMIT: Duration = Duration::from_secs(120);

/// A way to measure, what it is called in the table, its unit and its goal.
struct Scenario {
    kind: &'static str,
    shown: &'static str,
    unit: &'static str,
    parameters: fn() -> Value,
    /// What our side should be, as a share of the peer's.
    goal: Option<Goal>,
}

const DECODE: Scenario = Scenario {
    kind: "decode",
    shown: "one stream",
    unit: "tok/s",
    parameters: || json!({"tokens": 96}),
    goal: Some(Goal::AtLeast(1.10)),
};
const PREFILL: Scenario = Scenario {
    kind: "prefill",
    shown: "reading a prompt",
    unit: "tok/s",
    parameters: || json!({"characters": 1000}),
    goal: Some(Goal::AtLeast(1.20)),
};
const CONCURRENT: Scenario = Scenario {
    kind: "concurrent",
    shown: "eight streams together",
    unit: "tok/s",
    parameters: || json!({"tokens": 48, "streams": 8}),
    goal: Some(Goal::AtLeast(1.20)),
};
const BEHIND: Scenario = Scenario {
    kind: "behind",
    shown: "first token behind a 4,000-token prompt",
    unit: "s",
    parameters: || json!({"characters": 4000, "after_s": 2}),
    goal: Some(Goal::AtMost(0.5)),
};
const SECOND_TURN: Scenario = Scenario {
    kind: "second_turn",
    shown: "second turn's first token / first turn's",
    unit: "",
    parameters: || json!({"characters": 1500}),
    goal: None,
};

pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let builder = bench.builder;
    payload::compile(builder)?;
    payload::build_portal(builder)?;
    let peer = peer_root(builder)?;
    let mut rows = Vec::new();
    for kind in ["q4_0", "q8_0"] {
        let file = random_model(builder, kind)?;
        let scenarios: &[&Scenario] = if kind == "q4_0" {
            &[&DECODE, &PREFILL, &CONCURRENT, &BEHIND, &SECOND_TURN]
        } else {
            &[&DECODE, &PREFILL, &CONCURRENT]
        };
        rows.extend(compare(builder, &peer, kind, &file, scenarios)?);
    }
    Ok(rows)
}

/// Runs the scenarios on both servers in turn, and compares.
fn compare(
    builder: &Builder,
    peer: &Path,
    name: &str,
    model: &Path,
    scenarios: &[&Scenario],
) -> Result<Vec<Row>> {
    let digest = builder.output(&["sha256sum", &builder.inside(model)?.display().to_string()])?;
    let digest = digest.split_whitespace().next().context("no digest")?;
    let mut session = Session::start_with(builder, PORTS, |root| prepare(root, name, model, digest))?;
    let code = session.claim_code()?;
    let key = session.reach()?.claim(&code)?.api_key.context("no API key")?;
    let mut server = Peer::start(builder, peer, model)?;
    server.wait()?;
    let plan = json!({
        "servers": [
            {"name": "ours", "socket": builder.inside(&session.socket("agent"))?, "key": key, "model": name},
            {"name": "peer", "port": PEER_PORT, "model": "any"},
        ],
    });
    let path = builder.cache().join("bench/plan.json");
    fs::write(&path, plan.to_string())?;
    let plan_inside = builder.inside(&path)?.display().to_string();
    let mut driver = Driver::start(builder, &["python3", "-B", "tests/bench/load.py", &plan_inside])?;
    let mut rows = Vec::new();
    for scenario in scenarios {
        let shown = format!("{name}: {}", scenario.shown);
        let mut pairs = Pairs::default();
        let ask = |round: usize| {
            let mut order = (scenario.parameters)();
            order["kind"] = scenario.kind.into();
            order["round"] = round.into();
            let told = driver.ask(&order)?;
            let side = |side: &str| told[side].as_f64().with_context(|| format!("{side} was not measured"));
            Ok((side("ours")?, side("peer")?))
        };
        measure(&format!("both servers, {shown}"), ROUNDS, ask, |(ours, peer)| {
            pairs.push(ours, peer);
            pairs.is_clear(scenario.goal)
        })?;
        rows.extend(Row::compared(&format!("{shown} / llama-server"), scenario.unit, &pairs, scenario.goal));
    }
    session.alive()?;
    drop(driver);
    server.end()?;
    session.stop()?;
    Ok(rows)
}

/// Puts the model into the store of a root, and the slots into the runners' settings.
fn prepare(root: &Path, id: &str, model: &Path, digest: &str) -> Result<()> {
    let folder = root.join("var/lib/actionbooster/models").join(id);
    fs::create_dir_all(&folder)?;
    fs::hard_link(model, folder.join("model.gguf"))?;
    let manifest = format!(
        "id = \"{id}\"\nname = \"Random weights\"\nfile = \"model.gguf\"\nsha256 = \"{digest}\"\n\
         size_bytes = {}\nlicence = \"MIT\"\ncontext_tokens = {CONTEXT}\n",
        fs::metadata(model)?.len()
    );
    fs::write(folder.join("manifest.toml"), manifest)?;
    fs::write(root.join("etc/actionbooster/runner.toml"), format!("slots = {SLOTS}\n"))?;
    Ok(())
}

/// A model of a real one's shape, made once per version of the script.
fn random_model(builder: &Builder, kind: &str) -> Result<PathBuf> {
    let script = fs::read(builder.checkout().join("tests/bench/model.py"))?;
    let stamp = &hex(&Sha256::digest(&script))[..12];
    let folder = builder.cache().join("bench");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{kind}-{stamp}.gguf"));
    if !file.exists() {
        let unfinished = folder.join("unfinished.gguf");
        let inside = builder.inside(&unfinished)?.display().to_string();
        builder.run(
            &format!("making a random {kind} model"),
            "bench-model",
            &["python3", "tests/bench/model.py", kind, &inside],
        )?;
        fs::rename(unfinished, &file)?;
    }
    Ok(file)
}

/// A Debian root with llama.cpp's server, made once.
fn peer_root(builder: &Builder) -> Result<PathBuf> {
    let root = builder.cache().join("peers/llama");
    let made = builder.cache().join("peers/llama.made");
    if made.exists() {
        return Ok(root);
    }
    fs::create_dir_all(builder.cache().join("peers"))?;
    let status = as_root("rm").args(["-rf", "--one-file-system"]).arg(&root).status()?;
    anyhow::ensure!(status.success(), "cannot remove {}", root.display());
    let mut bootstrap = as_root("mmdebstrap");
    // A testing release's lists may be older than they promise on a mirror that is not refreshed daily.
    bootstrap.args(["--variant=apt", "--aptopt=Acquire::Check-Valid-Until \"false\"", "--include=llama.cpp"]);
    bootstrap.arg(PEER_SUITE).arg(&root);
    logged("making a root for llama.cpp's own server", bootstrap, &builder.log("peer-llama"))?;
    fs::write(made, PEER_SUITE)?;
    Ok(root)
}

/// llama.cpp's server.
struct Peer {
    child: Child,
    log: PathBuf,
}

/// Enters the peer's root with the model's folder inside, in a namespace of its own.
const ENTER: &str = r#"
set -e
root=$1 models=$2; shift 2
mount --bind "$root" "$root"
mkdir -p "$root/models"
mount --bind "$models" "$root/models"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
exec chroot "$root" "$@"
"#;

impl Peer {
    fn start(builder: &Builder, root: &Path, model: &Path) -> Result<Self> {
        let log = builder.log("bench-llama-server");
        let file = fs::File::create(&log)?;
        let name = model.file_name().context("a model without a name")?.to_string_lossy();
        let threads = std::thread::available_parallelism()?.to_string();
        let mut command = as_root("unshare");
        command.args(["--mount", "--propagation", "private", "setpriv", "--pdeathsig", "TERM", "--"]);
        command.args(["sh", "-c", ENTER, "enter"]).arg(root);
        command.arg(model.parent().context("a model without a folder")?);
        command.args(["llama-server", "--host", "127.0.0.1", "--port", &PEER_PORT.to_string()]);
        command.args(["--model", &format!("/models/{name}"), "--threads", &threads]);
        command.args(["--parallel", &SLOTS.to_string(), "--ctx-size", &(SLOTS * CONTEXT).to_string()]);
        command.args(["--jinja", "--no-webui"]);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Self { child: command.spawn().context("cannot start llama-server")?, log })
    }

    /// Waits until the model is loaded.
    fn wait(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("llama-server ended ({status}):\n{}", tail(&self.log));
            }
            if healthy() {
                return Ok(());
            }
            if started.elapsed() > LOAD_LIMIT {
                bail!("llama-server did not load within {LOAD_LIMIT:?}:\n{}", tail(&self.log));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn end(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.end().is_err() {
            eprintln!("  llama-server could not be ended");
        }
    }
}

fn healthy() -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", PEER_PORT)) else { return false };
    let mut answer = String::new();
    stream.write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(" 200 ")
}
