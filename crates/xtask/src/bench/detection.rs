//! Detection beside the bare model, and beside a worker in Python.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Row;
use crate::appliance::Ports;
use crate::builder::Builder;
use crate::dev::Session;
use crate::progress::step;
use crate::{detectors, payload};

const PORTS: Ports = Ports { https: 17443, http: 17480, worker: Some(17701) };
const WORKER: &str = "127.0.0.1:17701";
const PEER_PORT: &str = "17702";
const MODEL: &str = "yolox-nano";
const ROUNDS: u32 = 60;
/// How often both sides of the comparison with the bare session start anew: where a process's memory happens to
/// lie makes a model up to 3 % faster or slower for as long as the process lives.
const STARTS: usize = 5;
/// Seconds that the cameras run.
const CAMERA_S: u32 = 60;
/// How long an idle model is kept here, and how long it may take to be gone.
const IDLE_S: u64 = 2;
const IDLE_LIMIT: Duration = Duration::from_secs(20);
/// A photograph of 640x480 pixels.
const PHOTO: &str = "/src/shared/assets/baseball.jpg";
/// Its pixels as bytes.
const PIXELS: &str = "import sys; from PIL import Image; open(sys.argv[2], 'wb').write(Image.open(sys.argv[1]).convert('RGB').tobytes())";

pub fn run(builder: &Builder) -> Result<Vec<Row>> {
    payload::compile(builder)?;
    payload::build_portal(builder)?;
    builder.run(
        "compiling what measures",
        "compile-measure",
        &["cargo", "build", "--release", "--locked", "--workspace", "--example", "measure", "--color=never"],
    )?;
    let folder = builder.cache().join("bench");
    fs::create_dir_all(&folder)?;
    let assets = builder.checkout().join("../shared/assets");
    if !assets.join("yolox_nano.onnx").exists() {
        eprintln!("  skipped: no detector is at hand to measure");
        return Ok(Vec::new());
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
        "rounds": ROUNDS,
        "camera_s": 0,
    });
    let measure = |plan: &Value| -> Result<Value> {
        fs::write(folder.join("detection.json"), plan.to_string())?;
        let printed =
            builder.output(&["/cache/target/release/examples/measure", "/cache/bench/detection.json"])?;
        Ok(serde_json::from_str(&printed)?)
    };
    let (mut starts, mut memory) = (Vec::new(), (0, 0));
    step("detecting, alone and over TCP, with new processes each time", || {
        for _ in 0..STARTS {
            starts.push(measure(&plan)?);
            let loaded = resident(pid)?;
            memory = (loaded, idle(pid, loaded)?);
        }
        Ok(())
    })?;
    let mut peer = peer(builder, &python)?;
    plan["peer"] = json!(format!("127.0.0.1:{PEER_PORT}"));
    plan["camera_s"] = json!(CAMERA_S);
    let told = step("detecting beside Python and for cameras", || measure(&plan));
    peer.kill()?;
    peer.wait()?;
    session.alive()?;
    session.stop()?;
    let mut rows = compared(&starts)?;
    rows.extend(others(&told?)?);
    let ((loaded, after), mb) = (memory, |bytes: u64| bytes as f64 / 1e6);
    rows.push(Row::plain("worker's memory with the model", mb(loaded), "MB", None));
    rows.push(Row::at_most("… unloaded, more than before", mb(after) - mb(before), "MB", None, 10.0));
    Ok(rows)
}

/// Beside the bare session: of all starts, the one whose ratio is the median.
fn compared(starts: &[Value]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (kind, name, goal) in [("jpeg_ms", "JPEG", 1.15), ("rgb_ms", "raw RGB", 1.08)] {
        let mut told: Vec<(f64, f64, &Value)> = Vec::new();
        for start in starts {
            let number = |key: &str| start[key].as_f64().with_context(|| format!("{key} was not measured"));
            told.push((number(kind)?, number("bare_ms")?, start));
        }
        told.sort_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1)));
        let Some((ours, bare, start)) = told.get(told.len() / 2).copied() else { continue };
        let title = format!("YOLOX-nano, {name} 640x480 over TCP / bare session");
        rows.push(Row::plain(&title, ours, "ms", Some(bare)));
        rows.push(Row::at_most("… ratio", ours / bare, "ratio", None, goal));
        if kind == "jpeg_ms" {
            for part in ["decode", "resize", "inference", "postprocess", "wire"] {
                let ms = start[format!("{part}_ms")].as_f64().unwrap_or_default();
                rows.push(Row::plain(&format!("  of it {part}"), ms, "ms", None));
            }
        }
    }
    Ok(rows)
}

/// Beside the worker in Python, and for cameras.
fn others(told: &Value) -> Result<Vec<Row>> {
    let number = |pointer: &str| {
        told.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("{pointer} was not measured"))
    };
    let mut rows = Vec::new();
    let (fps, peer) = (number("/fps")?, number("/peer_fps")?);
    rows.push(Row::plain("frames a second / worker in Python", fps, "fps", Some(peer)));
    rows.push(Row::at_least("… ratio", fps / peer, "ratio", None, 1.5));
    rows.push(Row::at_most("one camera at 12 fps, p95", number("/cameras_1/p95_ms")?, "ms", None, 75.0));
    rows.push(Row::at_most("one camera at 12 fps, dropped", number("/cameras_1/dropped")?, "", None, 0.0));
    rows.push(Row::at_most("four cameras at 12 fps, p95", number("/cameras_4/p95_ms")?, "ms", None, 150.0));
    let frames = number("/cameras_4/frames")? + number("/cameras_4/dropped")?;
    rows.push(Row::plain(
        "four cameras, share dropped",
        number("/cameras_4/dropped")? / frames,
        "ratio",
        None,
    ));
    rows.push(Row::at_most(
        "four cameras, most unequal share",
        number("/cameras_4/unfair")?,
        "ratio",
        None,
        0.05,
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
