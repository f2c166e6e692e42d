//! What is decided for the machines the product meets.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use actionbooster_hardware::{BoardKind, GpuVendor, Inventory, MissingFirmware};
use actionbooster_settings::{Address, Hostname, PublicKey, Settings};
use booster_provisioner::data::ModeName::{Cluster, Dma, Legacy};
use booster_provisioner::decide::{Action, Plan, decide, tls_names};
use support::{machines, rules};

const MIB: u64 = 1 << 20;

fn plan(inventory: &Inventory) -> Plan {
    plan_for(inventory, &Settings::default())
}

fn plan_for(inventory: &Inventory, settings: &Settings) -> Plan {
    decide(inventory, settings, &rules(), &["root".into(), "render".into()], &own_name())
}

fn own_name() -> Hostname {
    Hostname::parse("actionbooster-1a2b").unwrap()
}

#[test]
fn every_machine_gets_the_mode_that_fits_it() {
    let cases: [(&str, Inventory, _, &[&str], bool); 8] = [
        ("Orange Pi 5", machines::orange_pi_5(), Dma, &["7.6 GiB"], true),
        (
            "Orange Pi 5 Plus",
            machines::orange_pi_5_plus(),
            Dma,
            &["RK3588 NPU", "Mali-G610", "SN770", "15.4 GiB"],
            true,
        ),
        ("Raspberry Pi 5", machines::raspberry_pi_5(), Dma, &["VideoCore", "7.9 GiB"], true),
        ("PC with an AMD GPU", machines::amd_pc(), Dma, &["AMD", "980 PRO", "31.3 GiB"], true),
        ("PC with an NVIDIA GPU", machines::nvidia_pc(), Dma, &["Intel NPU", "Intel", "15.3 GiB"], true),
        ("old PC", machines::old_pc(), Legacy, &["1.9 GiB", "Core(TM)2 Duo"], false),
        ("QEMU", machines::qemu_vm(), Legacy, &["1.9 GiB"], false),
        ("plain PC", machines::plain_pc(), Legacy, &["Nothing here"], true),
    ];
    for (name, inventory, mode, reasons, capable) in cases {
        let plan = plan(&inventory);
        assert_eq!(plan.mode.name, mode, "{name}");
        assert_eq!(plan.mode.cluster_capable, capable, "{name}");
        let english: Vec<_> = plan.mode.reasons.iter().map(|reason| &reason.en).collect();
        assert_eq!(english.len(), reasons.len(), "{name}: {english:?}");
        for (reason, part) in english.iter().zip(reasons) {
            assert!(reason.contains(part), "{name}: {reason}");
        }
        for reason in &plan.mode.reasons {
            assert!(!reason.en.contains('{') && !reason.es.contains('{'), "{name}: {reason:?}");
        }
    }
}

#[test]
fn joining_other_nodes_makes_it_a_cluster() {
    let settings = Settings {
        join: ["10.0.0.2", "10.0.0.3"].map(|node| Address::parse(node).unwrap()).into(),
        ..Settings::default()
    };
    let plan = plan_for(&machines::amd_pc(), &settings);
    assert_eq!(plan.mode.name, Cluster);
    assert_eq!(plan.mode.reasons[0].es, "Uniste este equipo a otros nodos: 10.0.0.2, 10.0.0.3.");
}

#[test]
fn memory_is_shared_out_by_rule() {
    let cases = [
        ("Orange Pi 5", machines::orange_pi_5(), 1932, 100, 5443, 463, 231),
        ("Orange Pi 5 Plus", machines::orange_pi_5_plus(), 3938, 100, 11091, 512, 256),
        ("PC with an AMD GPU", machines::amd_pc(), 4096, 100, 23970, 512, 256),
        ("old PC", machines::old_pc(), 1967, 180, 988, 128, 96),
        ("QEMU", machines::qemu_vm(), 1971, 180, 990, 128, 96),
    ];
    for (name, inventory, zram, swappiness, budget, agent, monitor) in cases {
        let memory = plan(&inventory).memory;
        assert_eq!(memory.zram_bytes, zram * MIB, "{name}: zRAM");
        assert_eq!(memory.swappiness, swappiness, "{name}: swappiness");
        assert_eq!(memory.model_budget_bytes, budget * MIB, "{name}: budget");
        assert_eq!(memory.daemon_limits["agent"], agent * MIB, "{name}: agent");
        assert_eq!(memory.daemon_limits["monitor"], monitor * MIB, "{name}: monitor");
    }
}

#[test]
fn a_model_and_the_daemons_never_get_more_than_there_is() {
    for mib in (128..65_536).step_by(509) {
        let mut inventory = machines::amd_pc();
        inventory.memory.total_bytes = mib * MIB;
        let memory = plan(&inventory).memory;
        assert!(memory.model_budget_bytes < mib * MIB, "{mib} MiB");
        if mib >= 1024 {
            let all = memory.model_budget_bytes + memory.daemon_limits.values().sum::<u64>();
            assert!(all <= mib * MIB, "{mib} MiB: {all}");
        }
    }
}

/// Threads, processors and pinning of language models; threads and processors of detection.
type Cores = ((u32, String, bool), (u32, String));

fn cores(inventory: &Inventory) -> Cores {
    let Plan { runner, worker, .. } = plan(inventory);
    ((runner.threads, runner.cpus, runner.pinned), (worker.threads, worker.cpus))
}

fn expected(runner: (u32, &str, bool), worker: (u32, &str)) -> Cores {
    ((runner.0, runner.1.into(), runner.2), (worker.0, worker.1.into()))
}

#[test]
fn language_models_and_detection_run_on_cores_of_their_own() {
    let cases = [
        ("Orange Pi 5, NPU without a driver", machines::orange_pi_5(), (3, "4-6", true), (1, "7")),
        ("Orange Pi 5 Plus", machines::orange_pi_5_plus(), (4, "4-7", true), (4, "0-3")),
        ("PC with an AMD GPU", machines::amd_pc(), (14, "0-13", true), (2, "14-15")),
        ("hybrid PC", machines::nvidia_pc(), (5, "0-4", true), (1, "5")),
        ("old PC", machines::old_pc(), (2, "0-1", false), (1, "")),
        ("Raspberry Pi 5", machines::raspberry_pi_5(), (3, "0-2", true), (1, "3")),
    ];
    for (name, inventory, runner, worker) in cases {
        assert_eq!(cores(&inventory), expected(runner, worker), "{name}");
    }
    let mut pairs = machines::orange_pi_5_plus();
    let mut second = pairs.cpu.clusters[0].clone();
    second.cpus = vec![6, 7];
    second.capacity = 1017;
    pairs.cpu.clusters[0].cpus = vec![4, 5];
    pairs.cpu.clusters.push(second);
    assert_eq!(plan(&pairs).runner.cpus, "4-7", "two clusters of the same cores");
    let mut unknown = machines::plain_pc();
    unknown.cpu.clusters.clear();
    assert_eq!(cores(&unknown), expected((14, "0-13", true), (2, "14-15")), "without clusters");
}

#[test]
fn detection_takes_nothing_where_there_is_little() {
    let with = |fast: Vec<u32>, slow: Vec<u32>| {
        let mut inventory = machines::orange_pi_5();
        inventory.cpu.logical_cpus = (fast.len() + slow.len()) as u32;
        inventory.cpu.clusters[0].cpus = fast;
        inventory.cpu.clusters[1].cpus = slow;
        inventory.cpu.clusters.retain(|cluster| !cluster.cpus.is_empty());
        cores(&inventory)
    };
    for (fast, slow, runner, worker) in [
        (vec![0], vec![], (1, "0", false), (1, "")),
        (vec![0, 1, 2], vec![], (2, "0-2", false), (1, "")),
        (vec![2], vec![0, 1], (1, "2", true), (1, "")),
        (vec![4, 5], vec![0, 1, 2, 3], (2, "4-5", true), (4, "0-3")),
        (vec![6], vec![0, 1, 2, 3, 4, 5], (1, "6", true), (4, "0-5")),
        (vec![0, 1, 2, 3], vec![], (3, "0-2", true), (1, "3")),
        ((0..7).collect(), vec![], (6, "0-5", true), (1, "6")),
        ((0..64).collect(), vec![], (16, "0-61", true), (2, "62-63")),
    ] {
        assert_eq!(with(fast.clone(), slow.clone()), expected(runner, worker), "{fast:?} and {slow:?}");
    }
}

#[test]
fn accelerators_go_to_the_programs_that_hold_models() {
    let nodes = |inventory: &Inventory| -> Vec<String> {
        plan(inventory).accelerators.into_iter().map(|grant| grant.device).collect()
    };
    assert_eq!(nodes(&machines::amd_pc()), ["/dev/dri/renderD128", "/dev/kfd"]);
    assert_eq!(nodes(&machines::orange_pi_5_plus()), ["/dev/accel/accel0", "/dev/dri/renderD128"]);
    assert_eq!(nodes(&machines::orange_pi_5()), Vec::<String>::new(), "without drivers");
    assert_eq!(nodes(&machines::qemu_vm()), Vec::<String>::new());

    let grant = &plan(&machines::amd_pc()).accelerators[0];
    assert_eq!(
        (grant.groups.as_slice(), grant.given_to.as_slice()),
        (&["render".into()][..], &["runner".into(), "worker".into()][..])
    );

    let without_group =
        decide(&machines::amd_pc(), &Settings::default(), &rules(), &["root".into()], &own_name());
    assert!(without_group.accelerators[0].groups.is_empty(), "a unit with an unknown group does not start");

    let mut hostile = machines::amd_pc();
    hostile.gpus[0].render_node = Some("/dev/x\nExecStart=/bin/sh".into());
    hostile.gpus[0].driver = None;
    assert_eq!(nodes(&hostile), Vec::<String>::new());

    let mut paravirtual = machines::qemu_vm();
    paravirtual.gpus[0].render_node = Some("/dev/dri/renderD128".into());
    assert_eq!(paravirtual.gpus[0].vendor, GpuVendor::Virtual);
    assert_eq!(nodes(&paravirtual), Vec::<String>::new());
}

#[test]
fn the_internet_is_reached_only_in_online_mode_and_ssh_only_with_a_key() {
    let ports =
        |plan: &Plan| -> Vec<u16> { plan.firewall.incoming.iter().filter_map(|rule| rule.port).collect() };
    let anywhere = |plan: &Plan| {
        plan.firewall.outgoing.iter().any(|rule| rule.to.is_none() && rule.action == Action::Allow)
    };

    let closed = plan(&machines::qemu_vm());
    assert_eq!(ports(&closed), [80, 443, 5353]);
    assert!(!anywhere(&closed));

    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ1aWx0IGZvciB0ZXN0cyBvbmx5LCBubyBzZWNyZXQh me@home";
    let settings =
        Settings { online: true, ssh_keys: vec![PublicKey::parse(key).unwrap()], ..Settings::default() };
    let open = plan_for(&machines::qemu_vm(), &settings);
    assert_eq!(ports(&open), [80, 443, 5353, 22]);
    assert!(anywhere(&open));
}

#[test]
fn a_renamed_box_keeps_its_first_name_in_the_certificate() {
    let settings = Settings { hostname: Some(Hostname::parse("kitchen").unwrap()), ..Settings::default() };
    assert_eq!(
        plan_for(&machines::qemu_vm(), &settings).network.tls_names,
        ["kitchen.local", "kitchen", "actionbooster.local", "localhost"]
    );
    assert_eq!(
        plan(&machines::qemu_vm()).network.tls_names,
        ["actionbooster-1a2b.local", "actionbooster-1a2b", "actionbooster.local", "localhost"]
    );
    assert_eq!(
        tls_names("kitchen", "kitchen7"),
        ["kitchen.local", "kitchen", "kitchen7.local", "actionbooster.local", "localhost"]
    );
}

#[test]
fn missing_firmware_names_the_package_that_holds_it() {
    let cases = [
        ("amdgpu/gc_11_0_0_pfp.bin", Some("firmware-amd-graphics")),
        ("i915/adlp_guc_70.bin", Some("firmware-intel-graphics")),
        ("nvidia/ad106/gsp/gsp-535.113.01.bin", Some("firmware-nvidia-graphics")),
        ("iwlwifi-ty-a0-gf-a0-89.ucode", Some("firmware-iwlwifi")),
        ("rtl_nic/rtl8168h-2.fw", Some("firmware-realtek")),
        ("rtlwifi/rtl8192cufw.bin", Some("firmware-realtek")),
        ("ath10k/QCA6174/hw3.0/board-2.bin", Some("firmware-atheros")),
        ("ath11k/WCN6855/hw2.0/amss.bin", Some("firmware-atheros")),
        ("brcm/brcmfmac43455-sdio.bin", Some("firmware-brcm80211")),
        ("mediatek/WIFI_RAM_CODE_MT7961_1.bin", Some("firmware-mediatek")),
        ("rockchip/dptx.bin", Some("firmware-misc-nonfree")),
        ("arm/mali/arch10.8/mali_csffw.bin", Some("firmware-misc-nonfree")),
        ("intel/ibt-0041-0041.sfi", Some("firmware-intel-misc")),
        ("intel/sof/sof-tgl.ri", Some("firmware-sof-signed")),
        ("acme/unheard-of.bin", None),
    ];
    for (file, package) in cases {
        let mut inventory = machines::plain_pc();
        let missing =
            MissingFirmware { driver: "drv".into(), device: "0000:01:00.0".into(), file: file.to_owned() };
        inventory.missing_firmware = vec![missing.clone(), missing];
        let advice = plan(&inventory).missing_firmware;
        assert_eq!(advice.len(), 1, "{file}: told once");
        assert_eq!(advice[0].package.as_deref(), package, "{file}");
        for text in [&advice[0].advice.en, &advice[0].advice.es] {
            assert!(text.contains(file) && text.contains("drv") && !text.contains('{'), "{text}");
            let name = file.rsplit('/').next().unwrap();
            let place = format!("install -D -m 644 {name} /var/lib/actionbooster/firmware/{file} ");
            assert!(text.contains(&place), "{text}");
        }
    }
}

#[test]
fn every_board_has_a_title_and_its_notes() {
    let kinds = [
        BoardKind::OrangePi5,
        BoardKind::OrangePi5b,
        BoardKind::OrangePi5Plus,
        BoardKind::RaspberryPi5,
        BoardKind::GenericPc,
        BoardKind::VirtualQemu,
        BoardKind::VirtualVmware,
        BoardKind::VirtualVirtualbox,
        BoardKind::VirtualHyperv,
        BoardKind::VirtualXen,
        BoardKind::VirtualOther,
        BoardKind::GenericArm,
        BoardKind::Unknown,
    ];
    let rules = rules();
    for kind in kinds {
        let owners = rules.boards.iter().filter(|board| board.kinds.contains(&kind)).count();
        assert_eq!(owners, 1, "{kind:?} is described once");
    }
    let note =
        |inventory: &Inventory| plan(inventory).board.notes.iter().any(|note| note.en.contains("no driver"));
    assert!(note(&machines::orange_pi_5()), "an NPU without a driver is told");
    assert!(!note(&machines::orange_pi_5_plus()), "one with a driver is not");
}
