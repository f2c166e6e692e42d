//! The command line for the space of the disk.

use clap::{Subcommand, ValueEnum};

/// The space of the disk.
#[derive(Debug, Subcommand)]
pub enum Storage {
    /// Show how much there is, what takes it, and how it is freed.
    Show,
    /// Delete what a camera recorded.
    DeleteRecordings {
        /// The camera; one that was removed has a name here too.
        camera: String,
        /// Only what began so many days ago; 0 is all that has ended.
        #[arg(long, value_name = "DAYS")]
        older_than_days: u32,
    },
    /// Delete what was generated and is not pinned.
    DeleteGenerated {
        /// Only of this kind.
        #[arg(long)]
        kind: Option<Generated>,
    },
    /// Delete all conversations of an account.
    DeleteConversations {
        /// `owner`, an account of a key, or `damaged` for files that were put aside.
        account: String,
    },
    /// Delete the files of detection sessions that have ended.
    DeleteDetections,
}

/// What is generated.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Generated {
    /// Texts.
    Text,
    /// Images.
    Image,
    /// Videos.
    Video,
}
