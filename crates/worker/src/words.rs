//! Our types in the words of `ai.proto`.

use std::time::Duration;

use actionbooster_vision::{Detection, Fit, Format, Preprocessing};
use actionbooster_wire::ai::v1 as ai;

use crate::line::Seen;
use crate::loaded::Loaded;

pub(crate) fn response(kind: ai::response::Kind) -> ai::Envelope {
    let response = ai::Response { kind: Some(kind) };
    ai::Envelope { message: Some(ai::envelope::Message::Response(response)) }
}

pub(crate) fn heartbeat(ts_mono_ns: u64) -> ai::Envelope {
    ai::Envelope { message: Some(ai::envelope::Message::Heartbeat(ai::Heartbeat { ts_mono_ns })) }
}

/// An error about a frame, 0 when about none; a fatal one is the last message.
pub(crate) fn error(code: ai::ErrorCode, message: String, frame_id: u64, fatal: bool) -> ai::Envelope {
    response(ai::response::Kind::Error(ai::Error { code: code.into(), message, frame_id, fatal }))
}

pub(crate) fn ready(session_id: &str) -> ai::Envelope {
    response(ai::response::Kind::Ready(ai::Ready { session_id: session_id.into() }))
}

pub(crate) fn format(format: ai::PixelFormat) -> Option<Format> {
    match format {
        ai::PixelFormat::Jpeg => Some(Format::Jpeg),
        ai::PixelFormat::Rgb => Some(Format::Rgb),
        ai::PixelFormat::Bgr => Some(Format::Bgr),
        ai::PixelFormat::Nv12 => Some(Format::Nv12),
        ai::PixelFormat::Unspecified => None,
    }
}

pub(crate) fn preprocessing(input: (u32, u32), own: &Preprocessing) -> ai::Preprocessing {
    let channels = if own.bgr { ai::PixelFormat::Bgr } else { ai::PixelFormat::Rgb };
    ai::Preprocessing {
        input_width: input.0,
        input_height: input.1,
        channels: channels.into(),
        mean: own.mean.to_vec(),
        std: own.std.to_vec(),
        padding: own.padding.into(),
        centred: own.centred,
        fit: match own.fit {
            Fit::Round => ai::Fit::Round,
            Fit::Truncate => ai::Fit::Truncate,
            Fit::Stretch => ai::Fit::Stretch,
        }
        .into(),
    }
}

/// The name of a class; its number where it has none.
pub(crate) fn label(loaded: &Loaded, class: u32) -> String {
    loaded.about.labels.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
}

pub(crate) fn detection(loaded: &Loaded, found: &Detection) -> ai::Detection {
    ai::Detection {
        class_id: found.class,
        label: label(loaded, found.class),
        score: found.score,
        r#box: Some(ai::Box { x: found.x, y: found.y, width: found.width, height: found.height }),
    }
}

pub(crate) fn timings(seen: &Seen) -> ai::Timings {
    let us = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    ai::Timings {
        queue_us: us(seen.queued),
        decode_us: us(seen.spent.decode),
        resize_us: us(seen.spent.resize),
        inference_us: us(seen.spent.inference),
        postprocess_us: us(seen.spent.postprocess),
        batch: u32::try_from(seen.together).unwrap_or(u32::MAX),
    }
}
