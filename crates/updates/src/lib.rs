//! The two slots a system lives in, and what is known of each.
//!
//! GRUB, RAUC and the running system share a few variables in GRUB's environment on the boot
//! partition ([`Slots`] says what they mean). GRUB counts a try before every start and takes the
//! other slot when none is left; RAUC puts a new version first; the running system says that it
//! works. `image/grub/grub.cfg` is the same rule in GRUB's language, with its numbers taken from here.

mod block;
mod partition;
mod report;
mod slot;
mod slots;

use std::path::PathBuf;

pub use block::{Block, Damage};
pub use partition::{BACKUP, BootPartition, FOLDER, GRUBENV};
pub use report::{Check, Report};
pub use slot::Slot;
pub use slots::{AfterFailure, PROVEN_TRIES, SlotState, Slots, Standing, TRIAL_TRIES};

/// Why GRUB's environment cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the boot partition could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A file is there and is no environment of ours.
    #[error("{path} is damaged: {damage}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
}
