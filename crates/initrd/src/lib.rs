//! The first process of the appliance.
//!
//! It finds the slot GRUB chose, on the disk GRUB was read from, enters it, makes or grows or repairs the data partition with the
//! slot's own tools, mounts `/var` and `/etc` from it, and becomes systemd. Because the tools are
//! the slot's, the initrd holds nothing but this program and the kernel modules it needs.
//!
//! While it is not certain which of several disks that is, the data partition of none is touched.
//! Whatever happens to the data partition the system starts; only a slot that cannot be entered
//! ends the boot, and then the machine restarts so that GRUB can count the try.

pub mod boot;
pub mod choice;
pub mod cmdline;
pub mod console;
pub mod data;
pub mod disk;
mod encryption;
pub mod fat;
pub mod gpt;
pub mod hotplug;
mod limits;
pub mod modules;
pub mod mounts;
pub mod nonce;
pub mod partitions;
mod prompt;
pub mod reset;
pub mod superblock;
mod tools;
mod tpm;

use std::path::PathBuf;

/// Why the boot, or the use of the data partition, cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// GRUB did not say which slot to start.
    #[error("the kernel command line has no valid actionbooster.slot= (A or B)")]
    NoSlot,
    /// No disk with the slot's partition turned up in time.
    #[error("no partition named {label} appeared within {seconds} s; partitions seen: {seen}")]
    SlotMissing {
        /// Partition label that was waited for.
        label: &'static str,
        /// How long.
        seconds: u64,
        /// The partitions that did appear.
        seen: String,
    },
    /// A mount was refused by the kernel.
    #[error("cannot mount {what} on {target}: {source}")]
    Mount {
        /// Device or file system type.
        what: String,
        /// Mount point.
        target: PathBuf,
        /// The kernel's answer.
        source: nix::Error,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was being done, as a verb.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A system call failed.
    #[error("cannot {action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// The kernel's answer.
        source: nix::Error,
    },
    /// One of the slot's tools did not do its work.
    #[error("{tool} failed: {detail}")]
    Tool {
        /// Program name.
        tool: &'static str,
        /// Exit status and the last thing it said.
        detail: String,
    },
    /// Neither the TPM nor somebody at the console opened the disk.
    #[error(
        "the disk is encrypted; the TPM does not open it, and nobody typed the recovery key at the console"
    )]
    Locked,
    /// Two disks look alike.
    #[error("{doubt}")]
    Uncertain {
        /// Why it is not known which disk was started.
        doubt: choice::Doubt,
    },
    /// A disk does not have both of its partition tables.
    #[error("/dev/{disk} does not have two whole partition tables of ours; they are left as they are")]
    NoTable {
        /// Kernel name of the disk.
        disk: String,
    },
    /// The disk has no room for a data partition.
    #[error("there is no data partition on /dev/{disk} and none could be made")]
    NoData {
        /// Kernel name of the disk.
        disk: String,
    },
}

impl Error {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn system(action: &'static str) -> impl FnOnce(nix::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
