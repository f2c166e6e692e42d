//! Measures a running worker beside the bare model: `measure PLAN.json`, prints one JSON object.
//!
//! The plan: `{"worker": "127.0.0.1:7001", "peer": "127.0.0.1:…" or null, "model": id, "file": ONNX file, "jpeg": file,
//! "rgb": file of 640x480 pixels, "frames": of a kind, "camera_s": seconds, 0 for no cameras}`. Everything is measured
//! in turn in one run, in short blocks; `rates` are pairs of frames a second, ours and the peer's.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use actionbooster_wire::ai::v1 as ai;
use actionbooster_wire::frames::{self, Frames};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

/// Pixels of the pictures.
const SIZE: (u32, u32) = (640, 480);
/// Measurements of a kind in a row, and those before them that do not count.
const BLOCK: usize = 6;
const WARM: usize = 2;
/// Pictures a second of a camera.
const CAMERA_FPS: u32 = 12;

#[derive(Deserialize)]
struct Plan {
    worker: String,
    peer: Option<String>,
    model: String,
    file: PathBuf,
    jpeg: PathBuf,
    rgb: PathBuf,
    frames: usize,
    camera_s: u64,
}

struct Client(Framed<TcpStream, Frames<ai::Envelope, ai::Envelope>>);

impl Client {
    async fn open(address: &str, model: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self(Framed::new(stream, Frames::new(u32::MAX)));
        let init = ai::Init { model: model.into(), client: "measure".into(), ..ai::Init::default() };
        client.say(ai::request::Kind::Init(init)).await?;
        loop {
            match client.hear().await? {
                ai::response::Kind::Ready(_) => return Ok(client),
                ai::response::Kind::InitOk(_) => {}
                other => bail!("{other:?}"),
            }
        }
    }

    async fn say(&mut self, kind: ai::request::Kind) -> Result<()> {
        let request = ai::Request { kind: Some(kind) };
        let envelope = ai::Envelope { message: Some(ai::envelope::Message::Request(request)) };
        Ok(frames::send(&mut self.0, envelope).await?)
    }

    async fn hear(&mut self) -> Result<ai::response::Kind> {
        loop {
            let envelope = self.0.next().await.context("hung up")??;
            if let Some(ai::envelope::Message::Response(ai::Response { kind: Some(kind) })) = envelope.message
            {
                return Ok(kind);
            }
        }
    }

    /// Sends a picture, waits for its result, and tells both times.
    async fn look(&mut self, format: ai::PixelFormat, data: Bytes) -> Result<(Duration, ai::Timings)> {
        let started = Instant::now();
        let frame =
            ai::Frame { format: format.into(), width: SIZE.0, height: SIZE.1, data, ..ai::Frame::default() };
        self.say(ai::request::Kind::Frame(frame)).await?;
        match self.hear().await? {
            ai::response::Kind::Result(result) => Ok((started.elapsed(), result.timings.unwrap_or_default())),
            other => bail!("{other:?}"),
        }
    }
}

/// The model alone, on a ready tensor, with one thread: what everything else is measured by.
struct Bare {
    session: ort::session::Session,
    input: String,
    shape: [i64; 4],
    tensor: Vec<f32>,
}

impl Bare {
    fn open(file: &PathBuf) -> Result<Self> {
        let library =
            std::env::var("ACTIONBOOSTER_ONNXRUNTIME").context("ACTIONBOOSTER_ONNXRUNTIME is not set")?;
        let environment = ort::init_from(library)?.build()?;
        let wrong = |error: String| anyhow::anyhow!(error);
        let session = ort::session::Session::builder(&environment)
            .map_err(|error| wrong(error.to_string()))?
            .with_intra_threads(1)
            .map_err(|error| wrong(error.to_string()))?
            .with_intra_op_spinning(false)
            .map_err(|error| wrong(error.to_string()))?
            .commit_from_file(file)
            .map_err(|error| wrong(error.to_string()))?;
        let outlet = session.inputs().first().context("no input")?;
        let input = outlet.name().to_owned();
        let dimensions = outlet.dtype().tensor_shape().context("no shape")?;
        let shape = [1, 3, dimensions[2], dimensions[3]];
        let tensor = vec![114.0; (3 * shape[2] * shape[3]) as usize];
        Ok(Self { session, input, shape, tensor })
    }

    fn run(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let tensor = ort::value::TensorRef::from_array_view((self.shape, &self.tensor[..]))?;
        let outputs = self.session.run(ort::inputs![self.input.as_str() => tensor])?;
        let (_, values) = outputs[0].try_extract_tensor::<f32>()?;
        std::hint::black_box(values[0]);
        Ok(started.elapsed())
    }
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("measure PLAN.json")?;
    let plan: Plan = serde_json::from_slice(&std::fs::read(path)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(measure(&plan))?;
    println!("{measured}");
    Ok(())
}

async fn measure(plan: &Plan) -> Result<Value> {
    let (jpeg, rgb) = (Bytes::from(std::fs::read(&plan.jpeg)?), Bytes::from(std::fs::read(&plan.rgb)?));
    let mut bare = Bare::open(&plan.file)?;
    let mut client = Client::open(&plan.worker, &plan.model).await?;
    let (mut alone, mut with_jpeg, mut with_rgb) = (Vec::new(), Vec::new(), Vec::new());
    let mut parts = [const { Vec::new() }; 4];
    // In turn, some of each at a time: what the machine does meanwhile happens to all, and each has its caches warm.
    for _ in 0..plan.frames.div_ceil(BLOCK) {
        for number in 0..WARM + BLOCK {
            let took = bare.run()?;
            if number >= WARM {
                alone.push(took);
            }
        }
        for number in 0..WARM + BLOCK {
            let (took, timings) = client.look(ai::PixelFormat::Jpeg, jpeg.clone()).await?;
            if number >= WARM {
                with_jpeg.push(took);
                let us = [timings.decode_us, timings.resize_us, timings.inference_us, timings.postprocess_us];
                for (part, us) in parts.iter_mut().zip(us) {
                    part.push(Duration::from_micros(us.into()));
                }
            }
        }
        for number in 0..WARM + BLOCK {
            let (took, _) = client.look(ai::PixelFormat::Rgb, rgb.clone()).await?;
            if number >= WARM {
                with_rgb.push(took);
            }
        }
    }
    let [decode, resize, inference, postprocess] = parts.map(|mut part| ms(&mut part, 50));
    let (alone, jpeg_ms, rgb_ms) = (ms(&mut alone, 50), ms(&mut with_jpeg, 50), ms(&mut with_rgb, 50));
    let mut told = json!({
        "bare_ms": alone,
        "jpeg_ms": jpeg_ms,
        "rgb_ms": rgb_ms,
        "decode_ms": decode,
        "resize_ms": resize,
        "inference_ms": inference,
        "postprocess_ms": postprocess,
        "wire_ms": jpeg_ms - decode - resize - inference - postprocess,
    });
    if let Some(peer) = &plan.peer {
        let mut other = Client::open(peer, &plan.model).await?;
        let mut rates = Vec::new();
        for _ in 0..plan.frames.div_ceil(BLOCK) {
            rates.push((rate(&mut client, &jpeg).await?, rate(&mut other, &jpeg).await?));
        }
        told["rates"] = json!(rates);
    }
    drop(client);
    let cameras: &[usize] = if plan.camera_s > 0 { &[1, 4] } else { &[] };
    for cameras in cameras.iter().copied() {
        let tasks = (0..cameras).map(|_| camera(plan, jpeg.clone()));
        let seen: Vec<Seen> = futures::future::try_join_all(tasks).await?;
        let mut all: Vec<Duration> = seen.iter().flat_map(|seen| seen.took.iter().copied()).collect();
        let counts: Vec<usize> = seen.iter().map(|seen| seen.took.len()).collect();
        let (least, most) =
            (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(1));
        told[format!("cameras_{cameras}")] = json!({
            "p95_ms": ms(&mut all, 95),
            "dropped": seen.iter().map(|seen| seen.dropped).sum::<u32>(),
            "frames": counts.iter().sum::<usize>(),
            "unfair": (most - least) as f64 / most.max(1) as f64,
        });
    }
    Ok(told)
}

/// Frames a second of a block, one after the other.
async fn rate(client: &mut Client, jpeg: &Bytes) -> Result<f64> {
    let mut whole = Duration::ZERO;
    for number in 0..WARM + BLOCK {
        let (took, _) = client.look(ai::PixelFormat::Jpeg, jpeg.clone()).await?;
        if number >= WARM {
            whole += took;
        }
    }
    Ok(BLOCK as f64 / whole.as_secs_f64())
}

struct Seen {
    took: Vec<Duration>,
    dropped: u32,
}

/// A camera of 12 pictures a second with window 1: one that comes while another is on its way replaces the one that
/// waits. Times count from the moment the picture was there.
async fn camera(plan: &Plan, jpeg: Bytes) -> Result<Seen> {
    let mut client = Client::open(&plan.worker, &plan.model).await?;
    let interval = Duration::from_secs(1) / CAMERA_FPS;
    let mut seen = Seen { took: Vec::new(), dropped: 0 };
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < Duration::from_secs(plan.camera_s) {
        let due = begun + interval * number;
        tokio::time::sleep_until(due.into()).await;
        client.look(ai::PixelFormat::Jpeg, jpeg.clone()).await?;
        seen.took.push(due.elapsed());
        // Pictures that came meanwhile: the newest waits, the others are gone.
        let came = (begun.elapsed().as_secs_f64() / interval.as_secs_f64()) as u32;
        let next = number + 1;
        seen.dropped += came.saturating_sub(next);
        number = next.max(came);
    }
    Ok(seen)
}

/// A percentile in milliseconds.
fn ms(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
