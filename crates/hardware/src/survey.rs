//! The walk over the whole machine.

use std::io;
use std::path::{Path, PathBuf};

use crate::inventory::Inventory;
use crate::names::Names;
use crate::tree::Tree;
use crate::{board, cpu, disks, firmware, gpu, media, memory, network, npu, pci, platform, security};

/// Why there is no inventory at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The root folder cannot be opened.
    #[error("cannot open {} as the root of a machine", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The root folder has neither `proc` nor `sys`.
    #[error("{} has neither proc nor sys, so it is no running machine; mount them there", path.display())]
    NotAMachine {
        /// The folder.
        path: PathBuf,
    },
}

/// An inventory, with what could not be read for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// What was found.
    pub inventory: Inventory,
    /// One line for each thing that exists and could not be understood; usually none.
    pub warnings: Vec<String>,
}

impl Inventory {
    /// Reads the machine whose root folder is `root`: `/`, or a folder laid out like one.
    pub fn read(root: &Path) -> Result<Self, Error> {
        survey(root).map(|survey| survey.inventory)
    }
}

/// Reads the machine whose root folder is `root`, and tells what could not be read.
///
/// The names of devices come from udev's hardware database on the running machine only; elsewhere
/// they are what the kernel says, or numbers.
pub fn survey(root: &Path) -> Result<Survey, Error> {
    let tree = Tree::open(root).map_err(|source| Error::Root { path: root.into(), source })?;
    if !tree.exists("proc") && !tree.exists("sys") {
        return Err(Error::NotAMachine { path: root.into() });
    }
    let names = if root == Path::new("/") { Names::database() } else { Names::none() };
    let cpuinfo = cpu::Info::read(&tree);
    let board = board::read(&tree, &cpuinfo);
    let pci = pci::functions(&tree);
    let platform = platform::devices(&tree);
    let inventory = Inventory {
        cpu: cpu::read(&tree, &cpuinfo),
        memory: memory::read(&tree),
        npus: npu::read(&tree, &board, &pci, &platform, &names),
        gpus: gpu::read(&tree, &board, &pci, &platform, &names),
        disks: disks::read(&tree),
        interfaces: network::read(&tree),
        cameras: media::cameras(&tree),
        microphones: media::microphones(&tree),
        tpm: security::tpm(&tree),
        watchdogs: security::watchdogs(&tree),
        kvm: security::kvm(&tree),
        missing_firmware: firmware::missing(&firmware::kernel_log(&tree)),
        board,
    };
    Ok(Survey { inventory, warnings: tree.into_warnings() })
}
