//! What computes a model.

mod onnx;
mod providers;
mod rknn;

use std::path::Path;

use onnx::Onnx;
use rknn::Rknn;

use crate::Error;
use crate::head::{Output, Shape};

/// What a loaded model says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    /// Width and height in pixels.
    pub(crate) input: (u32, u32),
    /// Pictures it takes together at most.
    pub(crate) most_together: usize,
    pub(crate) outputs: Vec<Shape>,
    /// Names of classes, as the file carries them.
    pub(crate) names: Option<String>,
    /// What computes it, in the order of preference.
    pub(crate) providers: Vec<String>,
    /// It takes the bytes of a picture as they are, in the order red, green, blue, and normalises them itself.
    pub(crate) takes_bytes: bool,
}

/// A loaded model that computes.
pub(crate) trait Backend: Send {
    fn about(&self) -> &About;

    /// Computes `together` pictures that lie one after another in `input` as `[channel][row][column]`, and
    /// gives `read` the outputs of each.
    fn run(
        &mut self,
        input: &[f32],
        together: usize,
        read: &mut dyn FnMut(usize, &[Output<'_>]),
    ) -> Result<(), Error>;
}

/// How a model is loaded.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Threads that compute; 0 is 1.
    pub threads: usize,
    /// Wanted width and height of the input, for models that take several.
    pub input: Option<(u32, u32)>,
}

/// Loads a model with what computes files of its kind.
pub(crate) fn open(file: &Path, load: &Load) -> Result<Box<dyn Backend>, Error> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("onnx") => Ok(Box::new(Onnx::open(file, load)?)),
        Some("rknn") => Ok(Box::new(Rknn::open(file)?)),
        _ => Err(Error::Model(format!("{} is neither an .onnx nor an .rknn file", file.display()))),
    }
}
