//! One session: what was asked for at Init, and what became of its pictures.

use std::collections::BTreeSet;
use std::time::Instant;

use actionbooster_vision::{Error, Limits};
use actionbooster_wire::ai::v1 as ai;
use tokio::sync::mpsc;

use crate::detectors::Seat;
use crate::line::{Answer, Failure, Work};
use crate::record::{Record, Records};
use crate::words;

/// Detections of a picture at most, whatever was asked for.
const MOST_DETECTIONS: u32 = 1000;

/// What an Init asks for, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    pub(crate) model: String,
    pub(crate) input: Option<(u32, u32)>,
    pub(crate) limits: Limits,
    /// Names of the classes that are told; all when empty.
    pub(crate) classes: Vec<String>,
    pub(crate) client: String,
    pub(crate) record: bool,
}

impl Wish {
    /// Checks an Init; the error says which field is wrong.
    pub(crate) fn of(init: ai::Init) -> Result<Self, String> {
        let usual = Limits::default();
        let share = |name: &str, given: Option<f32>, usual: f32| match given {
            None => Ok(usual),
            Some(value) if (0.0..=1.0).contains(&value) => Ok(value),
            Some(value) => Err(format!("{name} is {value}; it must be between 0 and 1")),
        };
        let input = match (init.input_width, init.input_height) {
            (0, 0) => None,
            (0, _) | (_, 0) => return Err("input_width and input_height belong together".into()),
            both => Some(both),
        };
        if init.model.is_empty() {
            return Err("model is empty; name a detector of the store".into());
        }
        let most = init.max_detections.unwrap_or(100);
        if !(1..=MOST_DETECTIONS).contains(&most) {
            return Err(format!("max_detections is {most}; it must be between 1 and {MOST_DETECTIONS}"));
        }
        Ok(Self {
            model: init.model,
            input,
            limits: Limits {
                threshold: share("threshold", init.threshold, usual.threshold)?,
                iou: share("iou", init.iou, usual.iou)?,
                most: most as usize,
                classes: Vec::new(),
            },
            classes: init.classes,
            client: init.client.chars().filter(|character| !character.is_control()).take(64).collect(),
            record: init.record,
        })
    }
}

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) seat: Seat,
    wish: Wish,
    answers: mpsc::Sender<Answer>,
    /// Pictures that were replaced since the last Result.
    dropped: u32,
    record: Option<Record>,
}

impl Session {
    /// Opens a session; refuses classes that the model does not know.
    pub(crate) fn open(seat: Seat, mut wish: Wish, answers: mpsc::Sender<Answer>) -> Result<Self, String> {
        let labels = &seat.loaded.about.labels;
        let number = |name: &String| {
            let found = labels.iter().position(|label| label == name);
            found.map(|index| index as u32).ok_or_else(|| {
                format!(
                    "the model {} knows no class {name:?}; it knows {}",
                    seat.loaded.id,
                    labels.join(", ")
                )
            })
        };
        let classes = wish.classes.iter().map(number).collect::<Result<BTreeSet<u32>, String>>()?;
        wish.limits.classes = classes.into_iter().collect();
        let id = format!("{:016x}", rand::random::<u64>());
        Ok(Self { id, seat, wish, answers, dropped: 0, record: None })
    }

    /// Begins its file where one is wanted; detection goes on without it.
    pub(crate) fn record(&mut self, records: &Records) {
        if !self.wish.record {
            return;
        }
        let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
        let name = format!("{now}-{:08x}", rand::random::<u32>());
        let begun = records.begin(&name, &self.wish.client, &self.wish.model);
        self.record = begun.inspect_err(|error| tracing::warn!("the session is not recorded: {error}")).ok();
    }

    /// Puts a picture in line.
    pub(crate) fn put(&mut self, frame: ai::Frame) -> Result<(), String> {
        let format = ai::PixelFormat::try_from(frame.format).ok().and_then(words::format);
        let format = format.ok_or_else(|| {
            format!("the format {} is not known; there are JPEG, RGB, BGR and NV12", frame.format)
        })?;
        let work = Work {
            frame_id: frame.frame_id,
            ts_mono_ns: frame.ts_mono_ns,
            ts_utc_ms: frame.ts_utc_ms,
            format,
            width: frame.width,
            height: frame.height,
            data: frame.data,
            limits: self.wish.limits.clone(),
            arrived: Instant::now(),
            answer: self.answers.clone(),
        };
        if self.seat.loaded.line.put(self.seat.session, work) {
            self.dropped += 1;
        }
        Ok(())
    }

    /// What the client is told of a picture.
    pub(crate) fn tell(&mut self, answer: Answer) -> ai::Envelope {
        let Answer { frame_id, ts_mono_ns, ts_utc_ms, outcome } = answer;
        let seen = match outcome {
            Ok(seen) => seen,
            Err(failure) => return failed(failure, frame_id),
        };
        let loaded = &self.seat.loaded;
        let detections: Vec<_> =
            seen.detections.iter().map(|found| words::detection(loaded, found)).collect();
        if let Some(record) = &mut self.record
            && let Err(error) = record.add(frame_id, ts_utc_ms, &detections)
        {
            tracing::warn!(session = self.id, "the session is not recorded any further: {error}");
            self.record = None;
        }
        words::response(ai::response::Kind::Result(ai::Result {
            frame_id,
            ts_mono_ns,
            detections,
            timings: Some(words::timings(&seen)),
            width: seen.size.0,
            height: seen.size.1,
            dropped: std::mem::take(&mut self.dropped),
        }))
    }

    /// The answer to Init.
    pub(crate) fn init_ok(&self, most_bytes: u32, interval_ms: u32, timeout_ms: u32) -> ai::Envelope {
        let loaded = &self.seat.loaded;
        words::response(ai::response::Kind::InitOk(ai::InitOk {
            session_id: self.id.clone(),
            model_id: loaded.model_id.clone(),
            max_frame_bytes: most_bytes,
            providers: loaded.about.providers.clone(),
            preproc: Some(words::preprocessing(loaded.about.input, &loaded.about.preprocessing)),
            labels: loaded.about.labels.clone(),
            heartbeat_interval_ms: interval_ms,
            heartbeat_timeout_ms: timeout_ms,
        }))
    }

    /// Ends the session and closes its file.
    pub(crate) fn end(mut self, reason: &str) {
        if let Some(record) = self.record.take()
            && let Err(error) = record.close(reason)
        {
            tracing::warn!(session = self.id, "the session's file could not be closed: {error}");
        }
        tracing::info!(session = self.id, client = self.wish.client, reason, "session ended");
    }
}

fn failed(failure: Failure, frame_id: u64) -> ai::Envelope {
    let (code, why, fatal) = match failure {
        Failure::Picture(error @ Error::Frame(_)) => (ai::ErrorCode::BadFrame, error.to_string(), false),
        Failure::Picture(error) => (ai::ErrorCode::InferenceFailed, error.to_string(), false),
        Failure::Gone(why) => (ai::ErrorCode::ModelUnusable, why.to_string(), true),
    };
    words::error(code, why, frame_id, fatal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_that_makes_no_sense_is_refused_by_its_field() {
        let init = || ai::Init { model: "m".into(), ..ai::Init::default() };
        let wish = Wish::of(init()).expect("everything may be left out");
        assert_eq!(wish.limits, Limits { threshold: 0.35, iou: 0.45, most: 100, classes: vec![] });
        let cases = [
            (ai::Init { model: String::new(), ..init() }, "model is empty"),
            (ai::Init { threshold: Some(1.5), ..init() }, "threshold is 1.5"),
            (ai::Init { threshold: Some(f32::NAN), ..init() }, "threshold is NaN"),
            (ai::Init { iou: Some(-0.1), ..init() }, "iou is -0.1"),
            (ai::Init { input_width: 320, ..init() }, "belong together"),
            (ai::Init { max_detections: Some(0), ..init() }, "max_detections is 0"),
            (ai::Init { max_detections: Some(1_000_000), ..init() }, "between 1 and 1000"),
        ];
        for (init, word) in cases {
            let error = Wish::of(init).expect_err(word);
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
