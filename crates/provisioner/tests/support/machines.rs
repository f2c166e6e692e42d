//! Inventories of machines the product meets.

use actionbooster_hardware::{
    Architecture, Board, BoardKind, Cluster, Cpu, CpuFeatures, Disk, DiskBus, Gpu, GpuVendor, Interface,
    InterfaceKind, Inventory, Memory, MissingFirmware, Npu,
};

const MIB: u64 = 1 << 20;

fn machine(kind: BoardKind, name: &str, cpu: Cpu, mib: u64) -> Inventory {
    Inventory {
        board: Board { kind, name: name.into(), vendor: None, compatible: vec![] },
        cpu,
        memory: Memory { total_bytes: mib * MIB },
        npus: vec![],
        gpus: vec![],
        disks: vec![],
        interfaces: vec![Interface {
            name: "enp1s0".into(),
            kind: InterfaceKind::Ethernet,
            mac: Some("02:00:00:00:00:01".into()),
            speed_mbps: Some(1000),
        }],
        cameras: vec![],
        microphones: vec![],
        tpm: None,
        watchdogs: vec![],
        kvm: false,
        missing_firmware: vec![],
    }
}

fn x86(model: &str, cpus: u32, avx2: bool) -> Cpu {
    Cpu {
        architecture: Architecture::X86_64,
        model: model.into(),
        logical_cpus: cpus,
        features: CpuFeatures { avx2, fma: avx2, f16c: avx2, ..CpuFeatures::default() },
        clusters: vec![Cluster {
            cpus: (0..cpus).collect(),
            core: String::new(),
            max_khz: None,
            capacity: 1024,
        }],
    }
}

fn rk3588() -> Cpu {
    let cluster = |cpus: &[u32], core: &str, capacity| Cluster {
        cpus: cpus.to_vec(),
        core: core.into(),
        max_khz: None,
        capacity,
    };
    Cpu {
        architecture: Architecture::Aarch64,
        model: "Cortex-A76+Cortex-A55".into(),
        logical_cpus: 8,
        features: CpuFeatures { dotprod: true, fp16: true, ..CpuFeatures::default() },
        clusters: vec![
            cluster(&[4, 5], "Cortex-A76", 1024),
            cluster(&[6, 7], "Cortex-A76", 1017),
            cluster(&[0, 1, 2, 3], "Cortex-A55", 414),
        ],
    }
}

fn disk(node: &str, model: &str, bus: DiskBus) -> Disk {
    Disk {
        device_node: node.into(),
        model: model.into(),
        bus,
        size_bytes: 500_000_000_000,
        removable: bus == DiskBus::Usb,
        system: true,
    }
}

fn gpu(name: &str, vendor: GpuVendor, driver: &str, node: Option<&str>) -> Gpu {
    Gpu {
        name: name.into(),
        vendor,
        pci_id: Some("1002:744c".into()),
        driver: Some(driver.into()),
        render_node: node.map(Into::into),
        vram_bytes: None,
    }
}

/// 8 GB, vendor kernel without an NPU driver, panthor GPU.
pub fn orange_pi_5() -> Inventory {
    let mut it = machine(BoardKind::OrangePi5, "Orange Pi 5", rk3588(), 7_700);
    it.npus = vec![Npu { name: "RK3588 NPU".into(), driver: None, device_node: None }];
    it.gpus = vec![gpu("Mali-G610", GpuVendor::Arm, "panthor", Some("/dev/dri/renderD128"))];
    it.missing_firmware = vec![MissingFirmware {
        driver: "panthor".into(),
        device: "fb000000.gpu".into(),
        file: "arm/mali/arch10.8/mali_csffw.bin".into(),
    }];
    it
}

/// 16 GB, NPU with a driver, NVMe.
pub fn orange_pi_5_plus() -> Inventory {
    let mut it = machine(BoardKind::OrangePi5Plus, "Orange Pi 5 Plus", rk3588(), 15_700);
    it.npus = vec![Npu {
        name: "RK3588 NPU".into(),
        driver: Some("rocket".into()),
        device_node: Some("/dev/accel/accel0".into()),
    }];
    it.disks = vec![disk("/dev/nvme0n1", "WD SN740", DiskBus::Nvme)];
    it
}

pub fn amd_pc() -> Inventory {
    let mut it = machine(BoardKind::GenericPc, "B650M", x86("AMD Ryzen 7 7700", 16, true), 31_800);
    it.gpus = vec![gpu("Navi 31", GpuVendor::Amd, "amdgpu", Some("/dev/dri/renderD128"))];
    it.disks = vec![disk("/dev/nvme0n1", "Samsung 990", DiskBus::Nvme)];
    it.missing_firmware = vec![MissingFirmware {
        driver: "amdgpu".into(),
        device: "0000:03:00.0".into(),
        file: "amdgpu/gc_11_0_0_pfp.bin".into(),
    }];
    it
}

/// Nouveau did not get its firmware, so there is no render node.
pub fn nvidia_pc() -> Inventory {
    let mut it = machine(BoardKind::GenericPc, "Z790", x86("Intel Core i5-12400", 12, true), 15_900);
    it.gpus = vec![gpu("AD106", GpuVendor::Nvidia, "nouveau", None)];
    it.disks = vec![disk("/dev/sda", "Crucial MX500", DiskBus::Sata)];
    it.missing_firmware = vec![MissingFirmware {
        driver: "nouveau".into(),
        device: "0000:01:00.0".into(),
        file: "nvidia/ad106/gsp/gsp-535.113.01.bin".into(),
    }];
    it
}

pub fn old_pc() -> Inventory {
    let mut it =
        machine(BoardKind::GenericPc, "OptiPlex 755", x86("Intel Core 2 Duo E6550", 2, false), 1_950);
    it.disks = vec![disk("/dev/sda", "WDC WD800", DiskBus::Sata)];
    it
}

pub fn qemu_vm() -> Inventory {
    let mut it = machine(
        BoardKind::VirtualQemu,
        "Standard PC (Q35 + ICH9, 2009)",
        x86("QEMU TCG CPU", 2, true),
        1_960,
    );
    it.gpus = vec![gpu("Bochs", GpuVendor::Virtual, "bochs-drm", None)];
    it.disks = vec![disk("/dev/vda", "", DiskBus::Virtio)];
    it
}

/// 4 GB, AVX2, a SATA disk: nothing special, nothing missing.
pub fn plain_pc() -> Inventory {
    machine(BoardKind::GenericPc, "NUC", x86("Intel Pentium Gold", 4, true), 3_800)
}
