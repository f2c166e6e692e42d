//! The inventory: what this machine is, as plain data.
//!
//! Everything here is serialisable, so the same value travels from the reader to the
//! provisioner's decisions, to `/run/actionbooster/inventory.json` and to the portal.

use serde::{Deserialize, Serialize};

/// Everything the product knows about the machine it runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// What kind of machine this is.
    pub board: Board,
    /// The processor.
    pub cpu: Cpu,
    /// Main memory.
    pub memory: Memory,
    /// Neural processing units.
    pub npus: Vec<Npu>,
    /// Graphics processors.
    pub gpus: Vec<Gpu>,
    /// Whole disks, without partitions, loop devices or zRAM.
    pub disks: Vec<Disk>,
    /// Network interfaces, without loopback and virtual ones.
    pub interfaces: Vec<Interface>,
    /// Cameras that can capture video (V4L2).
    pub cameras: Vec<Camera>,
    /// Sound cards with a capture device.
    pub microphones: Vec<Microphone>,
    /// Trusted platform module, if any.
    pub tpm: Option<Tpm>,
    /// Hardware watchdogs.
    pub watchdogs: Vec<Watchdog>,
    /// Whether `/dev/kvm` is offered.
    pub kvm: bool,
    /// Firmware files that a driver asked for and did not find.
    pub missing_firmware: Vec<MissingFirmware>,
}

/// The family a board belongs to, with what names it exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// The family, which decides data files and quirks.
    pub kind: BoardKind,
    /// The name the firmware gives, such as `Orange Pi 5 Plus` or `ThinkCentre M710q`.
    pub name: String,
    /// The vendor the firmware gives, if any.
    pub vendor: Option<String>,
    /// Device tree `compatible` strings, most specific first; empty on machines without one.
    pub compatible: Vec<String>,
}

/// Board families that the product treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoardKind {
    /// Orange Pi 5 (RK3588S).
    OrangePi5,
    /// Orange Pi 5B (RK3588S, eMMC and Wi-Fi on board).
    OrangePi5b,
    /// Orange Pi 5 Plus (RK3588).
    OrangePi5Plus,
    /// Raspberry Pi 5.
    RaspberryPi5,
    /// Any other machine with DMI tables and no hypervisor.
    GenericPc,
    /// QEMU or KVM guest.
    VirtualQemu,
    /// VMware guest.
    VirtualVmware,
    /// VirtualBox guest.
    VirtualVirtualbox,
    /// Hyper-V guest.
    VirtualHyperv,
    /// Xen guest.
    VirtualXen,
    /// Another hypervisor.
    VirtualOther,
    /// A device-tree machine we have no family for.
    GenericArm,
    /// Nothing identified it.
    Unknown,
}

impl BoardKind {
    /// Whether a hypervisor runs this machine.
    pub const fn is_virtual(self) -> bool {
        matches!(
            self,
            Self::VirtualQemu
                | Self::VirtualVmware
                | Self::VirtualVirtualbox
                | Self::VirtualHyperv
                | Self::VirtualXen
                | Self::VirtualOther
        )
    }
}

/// Processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

/// The processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Instruction set.
    pub architecture: Architecture,
    /// Marketing name on x86, core names joined with `+` on Arm.
    pub model: String,
    /// Logical processors online.
    pub logical_cpus: u32,
    /// Features that inference engines care about.
    pub features: CpuFeatures,
    /// Groups of equal cores, fastest first.
    pub clusters: Vec<Cluster>,
}

/// Instruction-set features that change what inference costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is an independent processor flag")]
pub struct CpuFeatures {
    /// x86 AVX2.
    pub avx2: bool,
    /// x86 AVX-512 Foundation.
    pub avx512: bool,
    /// x86 FMA3.
    pub fma: bool,
    /// x86 half-precision conversion.
    pub f16c: bool,
    /// Arm 8-bit dot product (`asimddp`).
    pub dotprod: bool,
    /// Arm 8-bit matrix multiply.
    pub i8mm: bool,
    /// Arm half-precision arithmetic (`fphp`/`asimdhp`).
    pub fp16: bool,
}

/// A group of equal cores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Logical CPU numbers.
    pub cpus: Vec<u32>,
    /// Core name, such as `Cortex-A76`; empty when unknown.
    pub core: String,
    /// Highest frequency in kHz; absent where cpufreq is.
    pub max_khz: Option<u64>,
    /// Relative capacity, 1024 for the fastest core of the machine.
    pub capacity: u32,
}

/// Main memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// `MemTotal` of `/proc/meminfo`, in bytes.
    pub total_bytes: u64,
}

/// A neural processing unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Npu {
    /// What it is, such as `RK3588 NPU`.
    pub name: String,
    /// Kernel driver bound to it; absent when the kernel has none.
    pub driver: Option<String>,
    /// Device node that gives access, if the driver made one.
    pub device_node: Option<String>,
}

/// Who makes a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuVendor {
    /// AMD (PCI 1002).
    Amd,
    /// NVIDIA (PCI 10de).
    Nvidia,
    /// Intel (PCI 8086).
    Intel,
    /// Arm Mali.
    Arm,
    /// Emulated or paravirtual display.
    Virtual,
    /// Another vendor.
    Other,
}

/// A graphics processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Name from the hardware database, or the vendor and device numbers.
    pub name: String,
    /// Who makes it.
    pub vendor: GpuVendor,
    /// `vendor:device` in hexadecimal for PCI devices.
    pub pci_id: Option<String>,
    /// Kernel driver bound to it.
    pub driver: Option<String>,
    /// Render node, such as `/dev/dri/renderD128`.
    pub render_node: Option<String>,
    /// Dedicated video memory in bytes where the driver tells.
    pub vram_bytes: Option<u64>,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskBus {
    /// NVM Express.
    Nvme,
    /// SD card.
    Sd,
    /// eMMC.
    Emmc,
    /// USB mass storage.
    Usb,
    /// SATA or SAS.
    Sata,
    /// Paravirtual disk.
    Virtio,
    /// Anything else.
    Other,
}

/// A whole disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Device node, such as `/dev/nvme0n1`.
    pub device_node: String,
    /// Model name, trimmed.
    pub model: String,
    /// How it is attached.
    pub bus: DiskBus,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Whether the medium can be taken out.
    pub removable: bool,
    /// Whether the system was started from it.
    pub system: bool,
}

/// What kind of network interface this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterfaceKind {
    /// Wired Ethernet.
    Ethernet,
    /// Wi-Fi.
    Wifi,
    /// Anything else.
    Other,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Kernel name, such as `enp1s0`.
    pub name: String,
    /// Kind.
    pub kind: InterfaceKind,
    /// Hardware address, lower case with colons.
    pub mac: Option<String>,
    /// Link speed in Mbit/s while the link is up.
    pub speed_mbps: Option<u32>,
}

/// A camera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Camera {
    /// Name from the driver.
    pub name: String,
    /// Device node, such as `/dev/video0`.
    pub device_node: String,
}

/// A sound card that can record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Microphone {
    /// Name of the card.
    pub name: String,
    /// ALSA card number.
    pub card: u32,
}

/// A trusted platform module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tpm {
    /// Device node.
    pub device_node: String,
    /// Major version, 1 or 2.
    pub version_major: u8,
}

/// A hardware watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchdog {
    /// Device node.
    pub device_node: String,
    /// Name the driver gives.
    pub identity: String,
}

/// A firmware file that a driver asked for and did not find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingFirmware {
    /// Driver that asked.
    pub driver: String,
    /// Device as the kernel names it, such as `0000:03:00.0`.
    pub device: String,
    /// File, relative to `/lib/firmware`.
    pub file: String,
}
