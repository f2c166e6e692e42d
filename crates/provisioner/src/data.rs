//! The product's own rules, read from `/usr/share/actionbooster`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use actionbooster_hardware::{Architecture, BoardKind, DiskBus};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::text::Text;

/// Why the rules cannot be used. They are part of the image, so this is a fault of ours.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("cannot read {path}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is not valid")]
    Parse {
        /// Which one.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A file is well formed and makes no sense.
    #[error("{path}: {problem}")]
    Sense {
        /// Which one.
        path: PathBuf,
        /// What makes no sense.
        problem: String,
    },
}

/// All rules.
#[derive(Debug, Clone)]
pub struct Data {
    /// `modes.toml`.
    pub modes: Modes,
    /// `firmware.toml`.
    pub firmware: Firmware,
    /// `boards/*.toml`.
    pub boards: Vec<BoardData>,
}

/// How the mode and the shares of memory are decided.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modes {
    /// In the order they are tried.
    pub modes: Vec<Mode>,
    /// When no rule holds.
    pub fallback: Fallback,
    /// What a machine needs to be worth joining to others.
    pub cluster_capable: ClusterCapable,
    /// Memory kept for the system.
    pub reserve: Share,
    /// Memory each daemon may use.
    pub daemons: BTreeMap<String, Share>,
}

/// The modes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeName {
    /// Little memory or an old processor.
    Legacy,
    /// Work can bypass the processor, or there is plenty of memory.
    Dma,
    /// Joined to other nodes.
    Cluster,
}

impl ModeName {
    /// The name in files and on consoles.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Dma => "dma",
            Self::Cluster => "cluster",
        }
    }
}

/// One mode.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    /// Which.
    pub name: ModeName,
    /// Shown to the owner.
    pub title: Text,
    /// Any of these chooses it.
    pub rules: Vec<Rule>,
    /// How memory is used in it.
    pub memory: MemoryRule,
}

/// Conditions that must all hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Main memory is less than this.
    pub memory_below_mib: Option<u64>,
    /// Main memory is at least this.
    pub memory_from_mib: Option<u64>,
    /// The instruction set.
    pub architecture: Option<Architecture>,
    /// The processor lacks this.
    pub lacks: Option<Feature>,
    /// There is a usable one.
    pub accelerator: Option<Accelerator>,
    /// There is a disk on this bus.
    pub disk: Option<DiskBus>,
    /// The owner joined this box to others, or did not.
    pub joined: Option<bool>,
    /// Shown to the owner.
    pub reason: Text,
}

impl Rule {
    fn is_empty(&self) -> bool {
        self.memory_below_mib.is_none()
            && self.memory_from_mib.is_none()
            && self.architecture.is_none()
            && self.lacks.is_none()
            && self.accelerator.is_none()
            && self.disk.is_none()
            && self.joined.is_none()
    }
}

/// A processor feature that a rule may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feature {
    /// x86 AVX2.
    Avx2,
    /// x86 AVX-512.
    Avx512,
    /// x86 FMA3.
    Fma,
    /// x86 half-precision conversion.
    F16c,
    /// Arm dot product.
    Dotprod,
    /// Arm matrix multiply.
    I8mm,
    /// Arm half precision.
    Fp16,
}

/// A kind of accelerator that a rule may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// Neural processor.
    Npu,
    /// Graphics processor.
    Gpu,
}

/// How memory is used in a mode.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryRule {
    /// zRAM as a share of main memory.
    pub zram_percent: u64,
    /// zRAM at most.
    pub zram_max_mib: u64,
    /// `vm.swappiness`, 0 to 200.
    pub swappiness: u8,
    /// Models' share of what the reserve leaves.
    pub budget_percent: u64,
}

/// The mode when no rule holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// Which.
    pub mode: ModeName,
    /// Shown to the owner.
    pub reason: Text,
}

/// What a machine needs to be worth joining to others.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterCapable {
    /// Main memory at least.
    pub memory_from_mib: u64,
    /// Whether a wired network port is needed.
    pub wired: bool,
}

/// A share of main memory within limits.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Of main memory.
    pub percent: u64,
    /// At least.
    pub min_mib: u64,
    /// At most.
    pub max_mib: u64,
}

impl Share {
    /// The share of so many bytes, in whole mebibytes.
    pub fn of(&self, total_bytes: u64) -> u64 {
        let mib = (total_bytes >> 20) * self.percent / 100;
        mib.clamp(self.min_mib, self.max_mib) << 20
    }
}

/// Which package supplies a firmware file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// What to tell the owner.
    pub advice: FirmwareAdvice,
    /// Path prefixes by package.
    pub packages: BTreeMap<String, Vec<String>>,
}

/// What to tell about a missing file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareAdvice {
    /// When a package is known.
    pub known: Text,
    /// When none is.
    pub unknown: Text,
}

/// What is known about a board.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardData {
    /// The families this is about.
    pub kinds: Vec<BoardKind>,
    /// Shown to the owner.
    pub title: Text,
    /// Things the owner should know.
    #[serde(default)]
    pub notes: Vec<Note>,
}

/// Something the owner should know.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// When it is true.
    pub when: NoteWhen,
    /// What.
    pub text: Text,
}

/// When a note is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteWhen {
    /// On every such board.
    Always,
    /// The board has a neural processor and the kernel no driver for it.
    NpuWithoutDriver,
}

impl Data {
    /// Reads all rules from the vendor folder.
    pub fn read(vendor: &Path) -> Result<Self, DataError> {
        let modes: Modes = read_toml(&vendor.join("modes.toml"))?;
        check(&modes).map_err(|problem| DataError::Sense { path: vendor.join("modes.toml"), problem })?;
        let firmware = read_toml(&vendor.join("firmware.toml"))?;
        let folder = vendor.join("boards");
        let read_error = |source| DataError::Read { path: folder.clone(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(&folder).map_err(read_error)? {
            let path = entry.map_err(read_error)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        let boards = paths.iter().map(|path| read_toml(path)).collect::<Result<_, _>>()?;
        Ok(Self { modes, firmware, boards })
    }
}

fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, DataError> {
    let text =
        fs::read_to_string(path).map_err(|source| DataError::Read { path: path.to_path_buf(), source })?;
    toml::from_str(&text)
        .map_err(|source| DataError::Parse { path: path.to_path_buf(), source: Box::new(source) })
}

fn check(modes: &Modes) -> Result<(), String> {
    if !modes.modes.iter().any(|mode| mode.name == modes.fallback.mode) {
        return Err(format!("the fallback {:?} is not among the modes", modes.fallback.mode));
    }
    for mode in &modes.modes {
        if mode.rules.iter().any(Rule::is_empty) {
            return Err(format!("a rule of {:?} has no condition", mode.name));
        }
        if mode.memory.swappiness > 200 || mode.memory.budget_percent > 100 {
            return Err(format!("the memory of {:?} is out of range", mode.name));
        }
    }
    for share in modes.daemons.values().chain([&modes.reserve]) {
        if share.min_mib > share.max_mib || share.percent > 100 {
            return Err("a share of memory has a minimum above its maximum, or is above 100 percent".into());
        }
    }
    Ok(())
}
