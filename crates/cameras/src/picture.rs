//! A picture, and what was seen in it.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A picture of a camera.
#[derive(Debug, Clone)]
pub struct Picture {
    /// A whole JPEG file.
    pub jpeg: Bytes,
    /// When it was taken, on the monotonic clock.
    pub taken: Instant,
    /// When it was taken.
    pub at: Timestamp,
}

impl Picture {
    /// One that was taken now.
    pub fn now(jpeg: Bytes) -> Self {
        Self { jpeg, taken: Instant::now(), at: Timestamp::now() }
    }
}

/// One thing that was seen. Its box is told in fractions of the picture, from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Name of its class.
    pub label: String,
    /// Between 0 and 1.
    pub score: f32,
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width of the box.
    pub width: f32,
    /// Height of the box.
    pub height: f32,
}

impl Detection {
    /// The middle of its box.
    pub fn centre(&self) -> (f32, f32) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }
}
