//! `boosterctl vision …`.

use std::path::PathBuf;

use clap::Subcommand;

/// Object detection.
#[derive(Debug, Subcommand)]
pub enum Vision {
    /// Have the built-in detector look at a known picture, and compare what it finds.
    Selftest,
    /// Say what is in a picture.
    Detect {
        /// A JPEG, PNG or WebP file.
        file: PathBuf,
        /// Detector to ask; needed where there are several.
        #[arg(long, value_name = "ID")]
        model: Option<String>,
        /// The smallest score that counts, between 0 and 1.
        #[arg(long, value_name = "SCORE")]
        threshold: Option<f32>,
    },
    /// List the detectors, and which are loaded.
    Detectors,
}
