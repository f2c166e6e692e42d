//! The provisioner is cut at every instant, meets a full disk and broken files, and always ends
//! where an undisturbed run ends.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use actionbooster_hardware::DiskBus;
use actionbooster_secrets::Keyring;
use actionbooster_settings::Hostname;
use booster_provisioner::data::Data;
use booster_provisioner::layout::Layout;
use booster_provisioner::report::{Outcome, Report};
use booster_provisioner::{Status, World, announce_in, apply_in};
use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData};
use support::failing::{Failing, InForce};
use support::{files, machines, rules, write};
use tempfile::TempDir;
use x509_parser::pem::parse_x509_pem;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1dXkTn7b6cGvVnq3cQmN0s5m8bB5v1k2l3m4n5o6p7 owner@laptop";
const KEYS: &str = "var/lib/actionbooster/secrets";
const SETTINGS: &str = "var/lib/actionbooster/settings/settings.toml";
/// Differ by nature: random, or a protocol of the run.
const OWN_EACH_TIME: [&str; 6] = [
    "etc/machine-id",
    "actionbooster/secrets/",
    "run/actionbooster/secrets",
    "var/lib/actionbooster/tls/",
    "auth/claim-code",
    "run/actionbooster/provisioning.json",
];

struct Box {
    root: TempDir,
    system: Failing,
    data: Data,
}

impl Box {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "etc/group", "root:x:0:\nrender:x:105:\n");
        let system = Failing::new(root.path());
        system.boot();
        Self { system, root, data: rules() }
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    fn layout(&self) -> Layout {
        Layout::new(self.path())
    }

    fn apply(&self) -> anyhow::Result<Report> {
        let layout = self.layout();
        apply_in(&World {
            layout: &layout,
            system: &self.system,
            inventory: &machines::orange_pi_5_plus(),
            data: &self.data,
            now: now(),
            addresses: vec![],
        })
    }

    fn announce(&self) -> anyhow::Result<(Report, Option<String>)> {
        announce_in(&self.layout(), &self.system, now(), &addresses(), None)
    }

    /// What comes after the power is back.
    fn start(&self) -> Report {
        self.system.boot();
        self.apply().unwrap();
        self.system.start_the_rest();
        self.announce().unwrap().0
    }

    fn state(&self) -> (BTreeMap<PathBuf, Vec<u8>>, InForce) {
        let mut all = files(self.path());
        all.retain(|name, _| !OWN_EACH_TIME.iter().any(|part| name.to_string_lossy().contains(part)));
        // Holds the code.
        if let Some(page) = all.get_mut(Path::new("run/actionbooster/console.txt")) {
            *page = b"a page".to_vec();
        }
        let mut in_force = self.system.in_force.borrow().clone();
        in_force.certificate = None;
        // Follows from the identity, which is random.
        let own_name = self.own_name();
        for text in all.values_mut() {
            if let Ok(words) = std::str::from_utf8(text) {
                *text = words.replace(&own_name, "own-name").into_bytes();
            }
        }
        for value in in_force.kernel.values_mut() {
            *value = value.replace(&own_name, "own-name");
        }
        (all, in_force)
    }

    /// What the box is called where its owner gave it no name.
    fn own_name(&self) -> String {
        let last = fs::read(self.path().join("var/lib/actionbooster/provisioner/last-plan.json")).unwrap();
        let last: serde_json::Value = serde_json::from_slice(&last).unwrap();
        last["own_name"].as_str().unwrap().to_owned()
    }

    fn tls(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path().join("var/lib/actionbooster/tls").join(name)).ok()
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn addresses() -> Vec<IpAddr> {
    vec!["192.168.1.7".parse().unwrap(), "fd00::7".parse().unwrap()]
}

/// The certificate that nginx uses is the file's, the file is the key's, and the box has its names.
fn assert_tls(it: &Box, what: &str) {
    let certificate = it.tls("server.crt").unwrap();
    assert_eq!(it.system.in_force.borrow().certificate.as_deref(), Some(certificate.as_bytes()), "{what}");
    assert_pairs(it, what);
    for name in ["ca.crt", "server.key"] {
        assert!(it.tls(name).is_some(), "{what}: {name} is missing");
    }
    let handed_out = it.tls("ca.crt").unwrap();
    let authorities: Vec<_> = authorities(it).collect();
    assert_eq!(authorities.len(), 1, "{what}: authorities");
    only_file(&it.path().join(KEYS));
    assert!(authorities[0].ends_with(&handed_out), "{what}: another authority is handed out");
}

/// What the files of authorities hold, opened: keys and certificates.
fn authorities(it: &Box) -> impl Iterator<Item = String> {
    let folder = fs::read_dir(it.path().join("var/lib/actionbooster/tls/authorities"));
    let keyring = Keyring::load(&it.layout().run("secrets/provisioner")).unwrap_or_default();
    folder.into_iter().flatten().filter_map(move |entry| {
        let path = entry.unwrap().path();
        let about = format!("authority {}", path.file_stem().unwrap().display());
        let text = fs::read_to_string(path).unwrap();
        assert!(!text.contains("PRIVATE"), "a key lies open on the disk");
        // A cut may leave half a file under its first name; the next run takes it away.
        Some(String::from_utf8(keyring.open(&about, text.trim_end()).ok()?).unwrap())
    })
}

/// Whatever pairs are there belong together.
fn assert_pairs(it: &Box, what: &str) {
    let server = it.tls("server.key").zip(it.tls("server.crt"));
    let authorities = authorities(it).map(|text| {
        let begin = text.find("-----BEGIN CERTIFICATE").unwrap();
        (text[..begin].to_owned(), text[begin..].to_owned())
    });
    for (key, certificate) in authorities.chain(server) {
        let (_, block) = parse_x509_pem(certificate.as_bytes()).unwrap();
        let parsed = block.parse_x509().unwrap();
        let key = KeyPair::from_pem(&key).unwrap();
        assert_eq!(parsed.public_key().raw, key.subject_public_key_info(), "{what}: a pair does not match");
    }
}

/// What must hold at the very instant of the cut.
fn assert_safe(it: &Box, what: &str) {
    assert_pairs(it, what);
    let read = |name: &str| fs::read_to_string(it.path().join(name)).unwrap_or_default();
    if read("etc/ufw/ufw.conf").contains("ENABLED=yes") {
        for name in ["etc/ufw/user.rules", "etc/ufw/user6.rules"] {
            assert!(read(name).contains("--dport 443"), "{what}: the box is shut without its portal");
            assert!(read(name).ends_with("COMMIT\n"), "{what}: {name} is torn");
        }
    }
}

fn assert_same(it: &Box, expected: &Box, what: &str) {
    let ((files, in_force), (expected_files, expected_in_force)) = (it.state(), expected.state());
    let names: Vec<_> = files.keys().collect();
    assert_eq!(names, expected_files.keys().collect::<Vec<_>>(), "{what}: other files");
    for (name, contents) in &files {
        assert!(contents == &expected_files[name], "{what}: {} differs", name.display());
    }
    assert_eq!(in_force, expected_in_force, "{what}");
    assert_tls(it, what);
}

#[test]
fn a_first_boot_cut_at_any_instant_ends_as_an_undisturbed_one() {
    let undisturbed = Box::new();
    let report = undisturbed.start();
    assert_eq!(report.result, Outcome::Ok, "{:?}", report.steps);
    let whole = Box::new();
    whole.system.cut_after(usize::MAX);
    whole.apply().unwrap();
    let effects = whole.system.effects.get();
    assert!(effects > 30, "only {effects} effects");
    for cut in 0..effects {
        let what = format!("cut after {cut} effects");
        let it = Box::new();
        it.system.cut_after(cut);
        assert!(it.apply().is_err(), "{what}: the report was written");
        assert_safe(&it, &what);
        assert_eq!(it.start().result, Outcome::Ok, "{what}");
        assert_same(&it, &undisturbed, &what);
    }
}

#[test]
fn each_daemon_finds_its_own_settings() {
    let it = Box::new();
    it.start();
    let text = fs::read_to_string(it.layout().run("provisioned.toml")).unwrap();
    let budget = 11_091_u64 << 20;
    let expected = format!(
        "[agent]\nmodel_budget_bytes = {budget}\n\n[runner]\nthreads = 4\ncpus = \"4-7\"\n\n\
         [worker]\nthreads = 4\ncpus = \"0-3\"\n"
    );
    assert_eq!(text, expected);
}

fn change_settings(it: &Box) {
    let text = format!(
        "online = true\nhostname = \"kitchen\"\ntime_zone = \"Europe/Madrid\"\nssh_keys = [\"{KEY}\"]\n"
    );
    write(it.path(), SETTINGS, &text);
}

fn changed() -> Box {
    let it = Box::new();
    it.start();
    change_settings(&it);
    it
}

#[test]
fn a_change_of_settings_killed_at_any_instant_is_finished_by_the_next_run() {
    let undisturbed = changed();
    undisturbed.system.cut_after(usize::MAX);
    undisturbed.apply().unwrap();
    let effects = undisturbed.system.effects.get();
    undisturbed.announce().unwrap();
    for cut in 0..effects {
        for power in [false, true] {
            let what = format!("cut after {cut} effects, power {power}");
            let it = changed();
            it.system.cut_after(cut);
            assert!(it.apply().is_err(), "{what}: the report was written");
            assert_safe(&it, &what);
            if power {
                it.start();
            } else {
                it.system.revive();
                it.apply().unwrap();
                it.announce().unwrap();
            }
            assert_same(&it, &undisturbed, &what);
        }
    }
}

#[test]
fn a_second_run_changes_nothing_and_starts_no_program() {
    let it = Box::new();
    it.start();
    it.system.commands.borrow_mut().clear();
    let report = it.apply().unwrap();
    assert!(report.steps.iter().all(|step| step.status == Status::Unchanged), "{:?}", report.steps);
    let (_, page) = it.announce().unwrap();
    assert_eq!(page, None, "the consoles are written twice");
    assert!(it.system.commands.borrow().is_empty());
}

#[test]
fn a_full_disk_costs_one_step_and_is_made_good_later() {
    let undisturbed = Box::new();
    undisturbed.start();
    let cases = [
        ("etc/machine-id", "machine-id"),
        ("etc/hostname", "hostname"),
        ("etc/hosts", "hostname"),
        ("etc/ufw/user.rules", "firewall"),
        ("etc/ufw/ufw.conf", "firewall"),
        ("etc/systemd/zram-generator.conf", "memory"),
        ("etc/sysctl.d", "memory"),
        ("booster-agent.service.d", "limits"),
        ("lib/actionbooster/secrets", "secrets"),
        ("tls/authorities", "tls"),
        ("server.crt", "tls"),
        ("auth/claim-code", "claim"),
        ("last-plan.json", "memory of the hardware"),
    ];
    for (full, step) in cases {
        let it = Box::new();
        *it.system.full.borrow_mut() = Some(full.into());
        let report = it.apply().unwrap();
        assert_eq!(report.result, Outcome::Degraded, "{full}");
        let failed: Vec<_> = report.steps.iter().filter(|step| step.status == Status::Failed).collect();
        // Without a key no authority can be kept.
        let expected = if step == "secrets" { vec![step, "tls"] } else { vec![step] };
        assert_eq!(failed.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), expected, "{full}");
        assert!(failed[0].detail.contains("cannot write"), "{full}: {}", failed[0].detail);
        *it.system.full.borrow_mut() = None;
        assert_eq!(it.start().result, Outcome::Ok, "{full}");
        assert_same(&it, &undisturbed, full);
    }
}

fn only_file(folder: &Path) -> PathBuf {
    let mut entries = fs::read_dir(folder).unwrap();
    let path = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none(), "more than one in {}", folder.display());
    path
}

#[test]
fn broken_files_are_made_whole() {
    let undisturbed = Box::new();
    undisturbed.start();
    let names: Vec<_> = files(undisturbed.path())
        .into_keys()
        .filter(|name| {
            !name.starts_with("run") && !name.ends_with("etc/group") && !name.ends_with("etc/hosts")
        })
        .collect();
    assert!(names.len() > 15, "{names:?}");
    for name in &names {
        for garbage in
            ["", "\u{0}\u{0}\u{0}", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            let it = Box::new();
            it.start();
            // Called after what they hold, each otherwise.
            let path = match name.parent() {
                Some(folder) if folder.ends_with("authorities") || folder.ends_with("secrets") => {
                    only_file(&it.path().join(folder))
                }
                _ => it.path().join(name),
            };
            // A link would lead the garbage elsewhere.
            fs::remove_file(&path).unwrap();
            fs::write(&path, garbage).unwrap();
            let what = format!("{} holds {garbage:?}", name.display());
            assert_eq!(it.start().result, Outcome::Ok, "{what}");
            assert_same(&it, &undisturbed, &what);
        }
    }
}

#[test]
fn an_owners_bad_settings_leave_a_working_and_closed_box_that_says_so() {
    for (text, field) in [
        ("online = ", "settings.toml: "),
        ("\u{0}", "settings.toml: "),
        ("online = 1", "online: "),
        ("hostname = \"a b\"", "hostname: "),
    ] {
        let it = Box::new();
        write(it.path(), SETTINGS, text);
        let report = it.start();
        assert_eq!(report.result, Outcome::Degraded, "{text:?}");
        let step = report.steps.iter().find(|step| step.name == "settings").unwrap();
        assert_eq!(step.status, Status::Failed, "{text:?}");
        assert!(step.detail.starts_with(field), "{}", step.detail);
        assert!(!report.network.online);
        assert!(report.network.hostname.starts_with("actionbooster-"), "{}", report.network.hostname);
    }
}

#[test]
fn damaged_settings_are_as_they_were_last_good_but_never_online() {
    let it = changed();
    assert_eq!(it.start().result, Outcome::Ok);
    for text in ["hostname = \"kit", "\u{0}\u{0}", "online = 1\nhostname = 2\ntime_zone = 3\nssh_keys = 4"] {
        write(it.path(), SETTINGS, text);
        let report = it.start();
        assert_eq!(report.result, Outcome::Degraded, "{text:?}");
        assert_eq!((report.network.hostname.as_str(), report.network.online), ("kitchen", false), "{text:?}");
        let keys = fs::read_to_string(it.path().join("var/lib/actionbooster/ssh/authorized_keys")).unwrap();
        assert_eq!(keys, format!("{KEY}\n"), "{text:?}");
        assert_eq!(zone(&it), "../usr/share/zoneinfo/Europe/Madrid", "{text:?}");
    }
    // Whoever takes the file away starts over.
    fs::remove_file(it.path().join(SETTINGS)).unwrap();
    let report = it.start();
    assert_eq!(report.result, Outcome::Ok);
    assert!(report.network.hostname.starts_with("actionbooster-"));
    assert_eq!(zone(&it), "../usr/share/zoneinfo/UTC");
}

fn zone(it: &Box) -> String {
    fs::read_link(it.path().join("etc/localtime")).unwrap().display().to_string()
}

#[test]
fn a_time_zone_that_this_box_does_not_know_is_named_and_the_old_one_stays() {
    let it = Box::new();
    write(it.path(), "usr/share/zoneinfo/UTC", "TZif2");
    it.start();
    write(it.path(), SETTINGS, "time_zone = \"Europe/Atlantis\"\n");
    let report = it.apply().unwrap();
    let step = report.steps.iter().find(|step| step.status == Status::Failed).unwrap();
    assert!(step.name == "time" && step.detail.contains("Europe/Atlantis"), "{step:?}");
    assert_eq!(zone(&it), "../usr/share/zoneinfo/UTC");
}

#[test]
fn a_box_without_a_name_of_its_own_is_called_after_its_identity_everywhere() {
    let (it, other) = (Box::new(), Box::new());
    let report = it.start();
    let name = report.network.hostname.clone();
    assert!(name.starts_with("actionbooster-") && name.len() == 18, "{name}");
    assert_eq!(report.network.mdns_name, format!("{name}.local"));
    let read = |path: &str| fs::read_to_string(it.path().join(path)).unwrap();
    assert_eq!(read("etc/hostname"), format!("{name}\n"));
    assert!(read("etc/hosts").contains(&format!("{name}.local {name}")));
    assert!(read("run/actionbooster/console.txt").contains(&format!("https://{name}.local")));
    let names = report.tls.unwrap().names;
    assert!(
        names.contains(&format!("{name}.local")) && names.contains(&"actionbooster.local".into()),
        "{names:?}"
    );
    assert_ne!(other.start().network.hostname, name);
    assert_eq!(it.start().network.hostname, name);
}

#[test]
fn an_update_does_not_rename_a_box_whose_owner_gave_it_no_name() {
    let it = Box::new();
    it.start();
    // As earlier versions left it.
    let path = it.path().join("var/lib/actionbooster/provisioner/last-plan.json");
    let mut last: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    last.as_object_mut().unwrap().remove("own_name");
    fs::write(&path, last.to_string()).unwrap();
    for _ in 0..2 {
        assert_eq!(it.start().network.hostname, "actionbooster");
    }
}

#[test]
fn a_name_that_another_device_has_is_told_and_the_real_one_certified() {
    let it = Box::new();
    write(it.path(), SETTINGS, "hostname = \"kitchen\"\n");
    it.start();
    let announce = |name: &str| {
        let name = Hostname::parse(name).unwrap();
        announce_in(&it.layout(), &it.system, now(), &addresses(), Some(&name)).unwrap()
    };
    let (report, page) = announce("kitchen7");
    assert_eq!(report.network.mdns_name, "kitchen7.local");
    assert_eq!(report.network.taken_name.as_deref(), Some("kitchen.local"));
    assert!(report.tls.as_ref().unwrap().names.contains(&"kitchen7.local".into()), "{:?}", report.tls);
    assert_tls(&it, "under another name");
    let page = page.unwrap();
    assert!(page.contains("https://kitchen7.local") && page.contains("kitchen.local"), "{page}");
    let (report, _) = announce("bathroom");
    assert_eq!(report.network.taken_name, None, "the name it had before");
    let (report, _) = announce("kitchen");
    assert_eq!((report.network.mdns_name.as_str(), report.network.taken_name), ("kitchen.local", None));
    assert!(!report.tls.unwrap().names.contains(&"kitchen7.local".into()));
}

#[test]
fn identity_stays_when_everything_else_changes() {
    let it = Box::new();
    it.start();
    let keep =
        ["etc/machine-id", "var/lib/actionbooster/tls/ca.crt", "var/lib/actionbooster/auth/claim-code"];
    let before: Vec<_> = keep.iter().map(|name| fs::read(it.path().join(name)).unwrap()).collect();
    change_settings(&it);
    it.start();
    let after: Vec<_> = keep.iter().map(|name| fs::read(it.path().join(name)).unwrap()).collect();
    assert_eq!(before, after);
}

#[test]
fn a_claimed_box_gets_no_code_and_shows_none() {
    let it = Box::new();
    let (_, page) = {
        it.apply().unwrap();
        it.announce().unwrap()
    };
    let code = fs::read_to_string(it.path().join("var/lib/actionbooster/auth/claim-code")).unwrap();
    let shown = format!("{}-{}", &code[..4], &code[4..]);
    assert!(page.unwrap().contains(&shown));

    write(it.path(), "var/lib/actionbooster/auth/claimed", "");
    fs::remove_file(it.path().join("var/lib/actionbooster/auth/claim-code")).unwrap();
    let report = it.start();
    assert!(report.claim.claimed);
    assert!(!it.path().join("var/lib/actionbooster/auth/claim-code").exists());
    let page = fs::read_to_string(it.path().join("run/actionbooster/console.txt")).unwrap();
    assert!(!page.contains("Claim code"));
}

#[test]
fn the_report_holds_no_secret() {
    let it = Box::new();
    it.start();
    let text = fs::read_to_string(it.path().join("run/actionbooster/provisioning.json")).unwrap();
    let code = fs::read_to_string(it.path().join("var/lib/actionbooster/auth/claim-code")).unwrap();
    assert!(!text.contains(&code));
    assert!(!text.contains("PRIVATE KEY"));
}

#[test]
fn a_damaged_data_partition_is_reported_and_the_box_still_set_up() {
    let it = Box::new();
    it.system.boot();
    write(it.path(), "run/actionbooster/data-damaged", "ext4 superblock is bad\n");
    let report = it.apply().unwrap();
    assert_eq!(report.result, Outcome::Degraded);
    let detail = report.storage.detail.unwrap();
    assert!(detail.en.contains("ext4 superblock is bad") && detail.es.contains("ext4 superblock is bad"));
    assert!(report.tls.is_some());
}

#[test]
fn other_hardware_is_named_in_the_report() {
    let it = Box::new();
    it.start();
    let layout = it.layout();
    let mut inventory = machines::orange_pi_5_plus();
    inventory.memory.total_bytes *= 2;
    inventory.disks.retain(|disk| disk.bus != DiskBus::Nvme);
    let world = World {
        layout: &layout,
        system: &it.system,
        inventory: &inventory,
        data: &it.data,
        now: now(),
        addresses: vec![],
    };
    let changes = apply_in(&world).unwrap().hardware.changes;
    let english: Vec<_> = changes.iter().map(|text| text.en.as_str()).collect();
    assert_eq!(
        english,
        ["Memory was 15.4 GiB and is 30.8 GiB.", "The disk WD_BLACK SN770 500GB (500 GB) is gone."]
    );
    assert!(!apply_in(&world).unwrap().hardware.changed, "the second run knows them");
}
