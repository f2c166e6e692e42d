//! Detection beside the bare model, and beside a worker in Python.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::paired::{Estimate, Goal, Pairs, Rounds, measure};
use super::{Bench, Row};
use crate::appliance::Ports;
use crate::builder::Builder;
use crate::dev::Session;
use crate::{detectors, payload};

const PORTS: Ports = Ports { https: 17443, http: 17480, worker: Some(17701) };
const WORKER: &str = "127.0.0.1:17701";
const PEER_PORT: &str = "17702";
const MODEL: &str = "yolox-nano";
const FRAMES: u32 = 60;
/// How often both sides of the comparison with the bare session start anew, a pair each: where a process's memory
/// happens to lie makes a model up to 3 % faster or slower for as long as the process lives.
const STARTS: Rounds = Rounds { least: 9, most: 21 };
const JPEG: Goal = Goal::AtMost(1.06);
const RGB: Goal = Goal::AtMost(1.03);
const PYTHON: Goal = Goal::AtLeast(2.5);
/// What a picture of a camera may take, from the moment it is there, in inferences of the bare session: alone, and
/// of four.
const ONE: Goal = Goal::AtMost(3.0);
const FOUR: Goal = Goal::AtMost(8.0);
/// Seconds that the cameras run.
const CAMERA_S: u32 = 60;
/// How long an idle model is kept here, and how long it may take to be gone.
const IDLE_S: u64 = 2;
const IDLE_LIMIT: Duration = Duration::from_secs(20);
/// A photograph of 640x480 pixels.
const PHOTO: &str = "/src/shared/assets/baseball.jpg";
/// Its pixels as bytes.
const PIXELS: &str = "import sys; from PIL import Image; open(sys.argv[2], 'wb').write(Image.open(sys.argv[1]).convert('RGB').tobytes())";

pub fn run(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let builder = bench.builder;
    payload::compile(builder)?;
    payload::build_portal(builder)?;
    builder.run(
        "compiling what measures",
        "compile-measure",
        &["cargo", "build", "--release", "--locked", "--workspace", "--example", "measure", "--color=never"],
    )?;
    let folder = builder.cache().join("bench");
    fs::create_dir_all(&folder)?;
    let file = builder.checkout().join("../shared/assets/yolox_nano.onnx");
    if !file.exists() {
        if bench.skip_missing {
            eprintln!("  skipped: {} is not there", file.display());
            return Ok(Vec::new());
        }
        bail!(
            "{} is not there, so detection cannot be measured; --skip-missing leaves it out",
            file.display()
        );
    }
    let python = crate::test::client_environment(builder)?;
    builder.output(&[&python, "-c", PIXELS, PHOTO, "/cache/bench/picture.rgb"])?;
    let mut session = Session::start_with(builder, PORTS, |root| prepare(builder, root))?;
    session.reach()?;
    let pid = session.daemons().into_iter().find(|(name, _)| *name == "booster-worker");
    let (_, pid) = pid.context("the worker does not run")?;
    let before = resident(pid)?;
    let mut plan = json!({
        "worker": WORKER,
        "peer": null,
        "model": MODEL,
        "file": "/src/shared/assets/yolox_nano.onnx",
        "jpeg": PHOTO,
        "rgb": "/cache/bench/picture.rgb",
        "frames": FRAMES,
        "camera_s": 0,
    });
    let look = |plan: &Value| -> Result<Value> {
        fs::write(folder.join("detection.json"), plan.to_string())?;
        let printed =
            builder.output(&["/cache/target/release/examples/measure", "/cache/bench/detection.json"])?;
        Ok(serde_json::from_str(&printed)?)
    };
    let mut beside = Beside::default();
    let mut memory = (0, 0);
    let start = |_| {
        let told = look(&plan)?;
        let loaded = resident(pid)?;
        memory = (loaded, idle(pid, loaded)?);
        Ok(told)
    };
    let mut unreadable = None;
    measure("alone and over TCP, with new processes each time", STARTS, start, |told| {
        beside.take(&told).unwrap_or_else(|error| {
            unreadable = Some(error);
            true
        })
    })?;
    if let Some(error) = unreadable {
        return Err(error);
    }
    let mut peer = peer(builder, &python)?;
    plan["peer"] = json!(format!("127.0.0.1:{PEER_PORT}"));
    plan["camera_s"] = json!(CAMERA_S);
    let once = Rounds { least: 1, most: 1 };
    let mut told = Value::Null;
    let measured = measure(
        "detecting beside Python and for cameras",
        once,
        |_| look(&plan),
        |seen| {
            told = seen;
            true
        },
    );
    peer.kill()?;
    peer.wait()?;
    measured?;
    session.alive()?;
    session.stop()?;
    let mut rows = beside.rows();
    rows.extend(others(&told)?);
    let ((loaded, after), mb) = (memory, |bytes: u64| bytes as f64 / 1e6);
    rows.push(Row::plain("worker's memory with the model", mb(loaded), "MB", None));
    rows.push(Row::single("… unloaded, more than before", mb(after) - mb(before), "MB", Goal::AtMost(10.0)));
    Ok(rows)
}

/// The parts of the time that a JPEG takes.
const PARTS: [&str; 5] = ["decode", "resize", "inference", "postprocess", "wire"];

/// Beside the bare session, a pair for every start.
#[derive(Default)]
struct Beside {
    jpeg: Pairs,
    rgb: Pairs,
    parts: [Vec<f64>; 5],
}

impl Beside {
    /// Whether that is enough.
    fn take(&mut self, told: &Value) -> Result<bool> {
        let number = |key: &str| told[key].as_f64().with_context(|| format!("{key} was not measured"));
        let bare = number("bare_ms")?;
        self.jpeg.push(number("jpeg_ms")?, bare);
        self.rgb.push(number("rgb_ms")?, bare);
        for (values, part) in self.parts.iter_mut().zip(PARTS) {
            values.push(number(&format!("{part}_ms"))?);
        }
        Ok(self.jpeg.is_clear(Some(JPEG)) && self.rgb.is_clear(Some(RGB)))
    }

    fn rows(&self) -> Vec<Row> {
        let title = |kind: &str| format!("YOLOX-nano, {kind} 640x480 over TCP / bare session");
        let mut rows: Vec<Row> = Row::compared(&title("JPEG"), "ms", &self.jpeg, Some(JPEG)).into();
        for (values, part) in self.parts.iter().zip(PARTS) {
            rows.push(Row::plain(&format!("  of it {part}"), Estimate::of(values).median, "ms", None));
        }
        rows.extend(Row::compared(&title("raw RGB"), "ms", &self.rgb, Some(RGB)));
        rows
    }
}

/// Beside the worker in Python, and for cameras.
fn others(told: &Value) -> Result<Vec<Row>> {
    let number = |pointer: &str| {
        told.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("{pointer} was not measured"))
    };
    let mut python = Pairs::default();
    let rates: Vec<(f64, f64)> = serde_json::from_value(told["rates"].clone())?;
    for (ours, peer) in rates {
        python.push(ours, peer);
    }
    let mut rows: Vec<Row> =
        Row::compared("frames a second / worker in Python", "fps", &python, Some(PYTHON)).into();
    let bare = number("/bare_ms")?;
    for (cameras, name, goal) in [(1, "one camera", ONE), (4, "four cameras", FOUR)] {
        let of = |what: &str| number(&format!("/cameras_{cameras}/{what}"));
        let p95 = of("p95_ms")?;
        rows.push(Row::plain(&format!("{name} at 12 fps, p95"), p95, "ms", None));
        rows.push(Row::single("… in inferences of the bare session", p95 / bare, "", goal));
        let dropped = of("dropped")? / (of("frames")? + of("dropped")?);
        let dropped_name = format!("{name} at 12 fps, share dropped");
        rows.push(if cameras == 1 {
            Row::single(&dropped_name, dropped, "", Goal::AtMost(0.0))
        } else {
            Row::plain(&dropped_name, dropped, "", None)
        });
    }
    rows.push(Row::single(
        "four cameras, most unequal share",
        number("/cameras_4/unfair")?,
        "",
        Goal::AtMost(0.05),
    ));
    Ok(rows)
}

fn prepare(builder: &Builder, root: &Path) -> Result<()> {
    detectors::add(builder, root)?;
    let text = format!("listen = \"{WORKER}\"\nidle_timeout_s = {IDLE_S}\n");
    fs::write(root.join("etc/actionbooster/worker.toml"), text)?;
    Ok(())
}

/// The worker in Python, once it listens.
fn peer(builder: &Builder, python: &str) -> Result<Child> {
    let script = "tests/bench/python_worker.py";
    let mut command =
        builder.command(&[python, "-B", script, PEER_PORT, "/src/shared/assets/yolox_nano.onnx"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start the worker in Python")?;
    let mut line = String::new();
    let output = child.stdout.take().context("no output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
    if line.trim() != "ready" {
        bail!("the worker in Python does not start: {line}");
    }
    Ok(child)
}

/// Waits until the model is gone; tells the memory then.
fn idle(pid: u32, loaded: u64) -> Result<u64> {
    let started = Instant::now();
    let mut least = loaded;
    while started.elapsed() < IDLE_LIMIT {
        std::thread::sleep(Duration::from_millis(500));
        least = least.min(resident(pid)?);
        if started.elapsed() > Duration::from_secs(IDLE_S * 3) {
            break;
        }
    }
    Ok(least)
}

/// Resident memory in bytes of a process and those that it started.
fn resident(pid: u32) -> Result<u64> {
    let mut bytes = resident_alone(pid)?;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.filter_map(Result::ok) {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            // One that has just ended takes nothing.
            bytes += resident_alone(child).unwrap_or(0);
        }
    }
    Ok(bytes)
}

fn resident_alone(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().next().context("no number")?.parse()?;
    Ok(kib * 1024)
}
