//! What a camera tells.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::client::Link;
use crate::machine::{EndReason, State};
use crate::picture::Detection;
use crate::source::CameraState;

/// What happened at a camera.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum CameraEvent {
    /// Something was seen.
    Detection {
        /// Id of the camera.
        camera: String,
        /// When the picture was taken.
        at: Timestamp,
        /// What was seen, the best first; never empty.
        detections: Vec<Detection>,
        /// The session it belongs to, if one is open.
        session: Option<String>,
    },
    /// Every two seconds: it runs.
    Keepalive {
        /// Id of the camera.
        camera: String,
        /// Now.
        at: Timestamp,
        /// Where the state machine stands.
        state: State,
        /// How the source stands.
        source: CameraState,
        /// How the connection to the worker stands.
        detector: Link,
        /// The session that is open, if one is.
        session: Option<String>,
        /// Why the latest session is not recorded to its end, if that is so.
        recording_stopped: Option<String>,
    },
    /// A session began.
    SessionStarted {
        /// Id of the camera.
        camera: String,
        /// Now.
        at: Timestamp,
        /// When the detections began.
        since: Timestamp,
        /// Names the session: its folder under that of the camera.
        session: String,
    },
    /// A session ended.
    SessionEnded {
        /// Id of the camera.
        camera: String,
        /// When it ended.
        at: Timestamp,
        /// When something was seen last.
        last_seen: Timestamp,
        /// Names the session.
        session: String,
        /// Why.
        reason: EndReason,
    },
    /// The source or the worker is not there; it is tried again.
    Lost {
        /// Id of the camera.
        camera: String,
        /// When.
        at: Timestamp,
        /// Which of both.
        part: Part,
        /// Why.
        reason: String,
    },
    /// It is there again.
    Back {
        /// Id of the camera.
        camera: String,
        /// When.
        at: Timestamp,
        /// Which of both.
        part: Part,
    },
    /// Nothing more of this session is recorded; detection goes on.
    RecordingStopped {
        /// Id of the camera.
        camera: String,
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

/// What a camera stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Where the pictures come from.
    Source,
    /// The worker that detects.
    Detector,
}

/// The latest picture and what was seen lately, for people who watch.
#[derive(Debug, Clone)]
pub struct Live {
    /// A whole JPEG file.
    pub jpeg: Bytes,
    /// When it was taken.
    pub at: Timestamp,
    /// What was seen less than a second before.
    pub detections: Vec<Detection>,
}
