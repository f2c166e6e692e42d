//! Cameras: pictures from a source, detections from a worker, and sessions out of both.
//!
//! [`run`] runs one [`Camera`]: [`Capture`] takes its pictures, [`Client`] has the worker detect in the newest of
//! them, [`machine`] decides when what is seen is a session, [`session`] writes it, and [`retention`] chooses which
//! sessions go. What happens comes out as [`CameraEvent`]s, and the latest picture as [`Live`].
//!
//! Metrics, each with the label `camera`: `ai_init_ok_total`, `ai_reconnects_total`, `ai_frame_inflight`,
//! `ai_frames_sent_total`, `ai_drops_latestwins_total`, `ai_result_latency_ms`, `ai_detections_total` (before
//! masks), `camera_events_lost_total`.

pub mod address;
mod backoff;
mod camera;
mod capture;
mod classes;
mod client;
mod decoder;
mod event;
mod ffmpeg;
mod folder;
mod frame_rate;
mod http;
pub mod jpegs;
pub mod latest;
pub mod machine;
mod masks;
mod picture;
mod recorder;
pub mod retention;
mod ring;
pub mod session;
mod settings;
mod sink;
mod source;
mod stream;
mod window;

pub use camera::run;
pub use capture::Capture;
pub use classes::{ClassesError, classes};
pub use client::{Answer, Client, Link};
pub use event::{CameraEvent, Live, Part};
pub use masks::Mask;
pub use picture::{Detection, Picture};
pub use settings::{Camera, Invalid, Surroundings};
pub use source::{CameraState, Source};
