//! Object detection: a picture into a model's input, the model, and its numbers into boxes.
//!
//! [`Detector`] does all of it for one loaded model, on the thread that calls it, with buffers that it keeps.

mod backend;
mod detector;
mod files;
mod frame;
mod head;
mod jpeg;
pub mod labels;
mod letterbox;
mod nms;
mod resize;
mod runtime;

pub use backend::Load;
pub use detector::{Detection, Detector, Limits, Settings, Spent};
pub use frame::{Format, Frame, MOST_JPEG_PIXELS, MOST_PIXELS, MOST_SIDE};
pub use head::HeadKind;
pub use letterbox::{Changes, Fit, Preprocessing};
pub use runtime::Runtime;

/// Why there are no detections.
#[derive(Debug, Clone, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum Error {
    /// The picture is not what it says.
    #[error("this picture cannot be used: {0}")]
    Frame(String),
    /// The model cannot be used.
    #[error("this model cannot be used: {0}")]
    Model(String),
    /// The library that computes is missing or unfit.
    #[error("{0}")]
    Runtime(String),
    /// The model failed at a picture.
    #[error("the model failed: {0}")]
    Inference(String),
}
