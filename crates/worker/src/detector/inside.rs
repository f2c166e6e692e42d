//! A detector's process: it loads one model and looks at pictures until the worker hangs up.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use actionbooster_vision::{Detector, Error, Frame, Load, Runtime, Spent};
use anyhow::{Context, Result};
use memmap2::Mmap;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, dup2_stdout};

use super::talk::{About, Looked, Order, Picture, Report, Wanted, hear, say};

/// The program as a detector's process.
pub(crate) fn run() -> ExitCode {
    if let Err(error) = actionbooster_chassis::trace() {
        eprintln!("booster-worker detector: nothing is logged: {error:#}");
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("a detector's process: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let mut worker = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut pictures = Pictures { file: File::from(io::stdout().as_fd().try_clone_to_owned()?), map: None };
    // What libraries print must not land in the pictures.
    dup2_stdout(io::stderr()).context("standard output cannot be moved")?;
    let mut buffer = Vec::new();
    let mut detector = None;
    while let Some(order) = hear::<Order>(&mut worker, &mut buffer).context("the worker is not understood")? {
        let report = match (order, &mut detector) {
            (Order::Describe, _) => Runtime::load(None)
                .map_or_else(Report::Failed, |runtime| Report::Describes(runtime.describe())),
            (Order::Load(wanted), detector) => load(&wanted).map_or_else(Report::Failed, |loaded| {
                let about = about(&loaded);
                *detector = Some(loaded);
                Report::Ready(about)
            }),
            (Order::Look(wanted), Some(detector)) => look(detector, pictures.bytes(&wanted)?, &wanted),
            (Order::Look(_), None) => Report::Failed(Error::Inference("no model is loaded".into())),
        };
        match say(&mut worker, &report, &mut buffer) {
            // The worker does not want it any more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            outcome => outcome.context("the worker cannot be told")?,
        }
    }
    Ok(())
}

fn load(wanted: &Wanted) -> Result<Detector, Error> {
    // Before the model's own threads exist, so that all of them inherit it.
    if let Err(error) = pin(&wanted.cpus) {
        tracing::warn!("detection runs on all processors: {error:#}");
    }
    let load = Load { threads: wanted.threads, input: wanted.input };
    Detector::open(&wanted.file, &wanted.settings, &load)
}

fn about(detector: &Detector) -> About {
    About {
        labels: detector.labels().to_vec(),
        input: detector.input_size(),
        preprocessing: detector.preprocessing().clone(),
        head: detector.head().name().to_owned(),
        providers: detector.providers().to_vec(),
        most_together: detector.most_together(),
    }
}

fn look(detector: &mut Detector, mut bytes: &[u8], wanted: &[Picture]) -> Report {
    detector.clear();
    let mut outcomes: Vec<Result<Looked, Error>> = Vec::with_capacity(wanted.len());
    // Of each picture that was added, its place among all.
    let mut added = Vec::with_capacity(wanted.len());
    for (place, picture) in wanted.iter().enumerate() {
        let data;
        (data, bytes) = bytes.split_at(picture.length);
        let frame = Frame { format: picture.format, width: picture.width, height: picture.height, data };
        outcomes.push(detector.add(&frame).map(|size| {
            added.push(place);
            Looked { detections: Vec::new(), size, spent: Spent::default() }
        }));
    }
    let seen = detector.detect(&|index| &wanted[added[index]].limits, &mut |index, detections, spent| {
        if let Ok(looked) = &mut outcomes[added[index]] {
            (looked.detections, looked.spent) = (detections, spent);
        }
    });
    if let Err(error) = seen {
        for place in added {
            outcomes[place] = Err(error.clone());
        }
    }
    Report::Looked(outcomes)
}

/// The memory that pictures lie in.
struct Pictures {
    file: File,
    map: Option<Mmap>,
}

impl Pictures {
    /// The bytes of these pictures. The memory grows with the pictures.
    #[expect(unsafe_code, reason = "a mapping is the only way to read a picture without another copy")]
    fn bytes(&mut self, wanted: &[Picture]) -> Result<&[u8]> {
        let length: usize = wanted.iter().map(|picture| picture.length).sum();
        if self.map.as_ref().is_none_or(|map| map.len() < length) {
            // SAFETY: the worker writes there only before it gives an order and never makes it smaller, so
            // nothing changes while it is read.
            self.map = Some(unsafe { Mmap::map(&self.file) }.context("the pictures cannot be reached")?);
        }
        let whole = self.map.as_deref().unwrap_or_default();
        whole.get(..length).with_context(|| format!("{length} bytes of pictures in {}", whole.len()))
    }
}

fn pin(cpus: &[usize]) -> Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu).with_context(|| format!("there is no processor {cpu}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("not allowed on {cpus:?}"))
}
