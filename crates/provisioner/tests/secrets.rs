//! The box's key: with a TPM, without one, with one that forgets and remembers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use actionbooster_secrets::Keyring;
use booster_provisioner::layout::Layout;
use booster_provisioner::report::Report;
use booster_provisioner::{Status, World, apply_in};
use jiff::{Timestamp, ToSpan};
use support::failing::Failing;
use support::{machines, rules, write};
use tempfile::TempDir;

struct Box {
    root: TempDir,
    system: Failing,
}

impl Box {
    fn new(tpm: Option<&str>) -> Self {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "etc/group", "root:x:0:\nrender:x:105:\n");
        let system = Failing::new(root.path());
        *system.tpm.borrow_mut() = tpm.map(str::to_owned);
        Self { root, system }
    }

    fn layout(&self) -> Layout {
        Layout::new(self.root.path())
    }

    /// Starts with this TPM, so many days after the first time.
    fn start(&self, tpm: Option<&str>, days: i64) -> Report {
        *self.system.tpm.borrow_mut() = tpm.map(str::to_owned);
        self.system.boot();
        let layout = self.layout();
        apply_in(&World {
            layout: &layout,
            system: &self.system,
            inventory: &machines::orange_pi_5_plus(),
            data: &rules(),
            now: Timestamp::from_second(1_800_000_000).unwrap() + (days * 24).hours(),
            addresses: vec![],
        })
        .unwrap()
    }

    fn keys(&self) -> Vec<String> {
        let entries = fs::read_dir(self.layout().state("secrets")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn ring(&self, program: &str) -> Keyring {
        Keyring::load(&self.layout().run("secrets").join(program)).unwrap()
    }
}

/// What the report says: what the key is bound to, and how many stay closed.
fn told(report: &Report) -> String {
    serde_json::to_string(&report.secrets).unwrap()
}

fn authority(report: &Report) -> String {
    report.tls.as_ref().unwrap().ca_sha256.clone()
}

const TPM: &str = r#"{"bound_to":"tpm","closed":0}"#;
const DISK: &str = r#"{"bound_to":"disk","closed":0}"#;

fn ends_with(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == ending)
}

#[test]
fn programs_get_keys_of_their_own_that_stay_the_same() {
    let it = Box::new(None);
    assert_eq!(told(&it.start(None, 0)), DISK);
    let [key] = &it.keys()[..] else { panic!("{:?}", it.keys()) };
    assert!(key.starts_with("1-") && ends_with(key, "key"), "{key}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&it.layout().state("secrets").join(key)), 0o600);
    assert_eq!(mode(&it.layout().run("secrets/agent")), 0o400);
    let sealed = it.ring("agent").seal("it", b"secret").unwrap();
    assert!(it.ring("provisioner").open("it", &sealed).is_err(), "another program opens it");
    it.start(None, 1);
    assert_eq!(it.ring("agent").open("it", &sealed).unwrap(), b"secret");
    let other = Box::new(None);
    other.start(None, 0);
    assert!(other.ring("agent").open("it", &sealed).is_err(), "another box opens it");
}

#[test]
fn a_key_is_bound_to_the_tpm_as_soon_as_there_is_one() {
    let it = Box::new(None);
    let name = authority(&it.start(None, 0));
    let sealed = it.ring("agent").seal("it", b"secret").unwrap();
    let report = it.start(Some("chip"), 1);
    assert_eq!((told(&report), authority(&report)), (TPM.into(), name));
    let [key] = &it.keys()[..] else { panic!("{:?}", it.keys()) };
    assert!(ends_with(key, "tpm"), "{key}");
    assert_eq!(it.ring("agent").open("it", &sealed).unwrap(), b"secret");
}

#[test]
fn a_disk_in_another_box_gives_nothing_and_loses_nothing() {
    let it = Box::new(Some("chip"));
    let own = it.start(Some("chip"), 0);
    assert_eq!(told(&own), TPM);
    let sealed = it.ring("agent").seal("it", b"secret").unwrap();
    for (other, closed) in [
        (Some("another chip"), r#"{"bound_to":"tpm","closed":1}"#),
        (None, r#"{"bound_to":"disk","closed":2}"#),
    ] {
        let away = it.start(other, 1);
        assert_eq!(told(&away), closed);
        assert_ne!(authority(&away), authority(&own));
        assert!(it.ring("agent").open("it", &sealed).is_err());
        let secrets = away.steps.iter().find(|step| step.name == "secrets").unwrap();
        assert!(secrets.detail.contains("the TPM does not open the key"), "{}", secrets.detail);
        assert!(away.steps.iter().all(|step| step.status != Status::Failed), "{:?}", away.steps);
    }
    let back = it.start(Some("chip"), 2);
    // What was made elsewhere without a TPM is taken along; the other chip's stays closed.
    assert_eq!(told(&back), r#"{"bound_to":"tpm","closed":1}"#);
    assert_eq!(authority(&back), authority(&own), "devices trust it again");
    assert_eq!(it.ring("agent").open("it", &sealed).unwrap(), b"secret");
}

#[test]
fn a_tpm_that_forgets_at_every_boot_does_not_fill_the_disk() {
    let it = Box::new(Some("0"));
    for boot in 0..20 {
        it.start(Some(&boot.to_string()), 0);
    }
    assert_eq!(it.keys().len(), 8, "{:?}", it.keys());
    let authorities = fs::read_dir(it.layout().state("tls/authorities")).unwrap().count();
    assert!(authorities <= 8, "{authorities} authorities");
}

#[test]
fn an_authority_of_an_earlier_version_is_sealed_and_stays_the_same() {
    let it = Box::new(None);
    let name = authority(&it.start(None, 0));
    let folder = it.layout().state("tls/authorities");
    let path = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let about = format!("authority {}", path.file_stem().unwrap().display());
    let sealed = fs::read_to_string(&path).unwrap();
    let open = it.ring("provisioner").open(&about, sealed.trim_end()).unwrap();
    fs::write(&path, open).unwrap();
    assert_eq!(authority(&it.start(None, 1)), name);
    assert!(!fs::read_to_string(&path).unwrap().contains("PRIVATE"));
}

/// The initrd has encrypted the partition, and left the key that opens it without its TPM.
#[test]
fn the_monitor_gets_the_recovery_key_of_an_encrypted_disk_and_of_no_other() {
    use std::os::linux::fs::MetadataExt;
    let it = Box::new(Some("chip"));
    write(it.root.path(), "data/recovery-key", "ABCD-EFGH");
    let handed_out = it.layout().run("secrets/recovery-key");
    assert!(!it.start(Some("chip"), 0).storage.encrypted);
    assert!(!handed_out.exists());
    let device = it.layout().state("").metadata().unwrap().st_dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let name = format!("sys/dev/block/{major}:{minor}/dm/uuid");
    write(it.root.path(), &name, "CRYPT-LUKS2-0123-data\n");
    assert!(it.start(Some("chip"), 1).storage.encrypted);
    assert_eq!(fs::read_to_string(&handed_out).unwrap(), "ABCD-EFGH");
    assert_eq!(fs::metadata(&handed_out).unwrap().permissions().mode() & 0o777, 0o400);
    write(it.root.path(), &name, "LVM-0123\n");
    assert!(!it.start(Some("chip"), 2).storage.encrypted);
    assert!(!handed_out.exists());
}
