//! What is handed out and what nginx shows stays good when the clock jumps, when an authority comes
//! to its end, and when a box comes from a version whose authority had no limits.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use booster_provisioner::layout::Layout;
use booster_provisioner::report::{Outcome, Report};
use booster_provisioner::{World, announce_in, apply_in};
use jiff::{Timestamp, ToSpan};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use support::failing::Failing;
use support::{files, machines, rules, write};
use tempfile::TempDir;
use x509_parser::pem::Pem;

const TLS: &str = "var/lib/actionbooster/tls";

struct Box {
    root: TempDir,
    system: Failing,
}

impl Box {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "etc/group", "root:x:0:\n");
        write(root.path(), "var/lib/actionbooster/settings/settings.toml", "hostname = \"kitchen\"\n");
        let system = Failing::new(root.path());
        system.boot();
        Self { root, system }
    }

    fn layout(&self) -> Layout {
        Layout::new(self.root.path())
    }

    fn apply(&self, now: Timestamp) -> anyhow::Result<Report> {
        apply_in(&World {
            layout: &self.layout(),
            system: &self.system,
            inventory: &machines::qemu_vm(),
            data: &rules(),
            now,
            addresses: addresses(),
        })
    }

    /// A boot at a moment.
    fn start(&self, now: Timestamp) -> Report {
        self.system.boot();
        self.apply(now).unwrap();
        self.system.start_the_rest();
        self.announce(now)
    }

    /// What the timer does, and what a jump of the clock starts.
    fn announce(&self, now: Timestamp) -> Report {
        let (report, _) = announce_in(&self.layout(), &self.system, now, &addresses(), None).unwrap();
        assert_eq!(report.result, Outcome::Ok, "{:?}", report.steps);
        report
    }

    /// The certificate that nginx shows is valid then, and by an authority that is handed out.
    fn assert_shown(&self, now: Timestamp, what: &str) {
        let shown = self.system.in_force.borrow().certificate.clone().unwrap();
        let shown = certificates(&shown).remove(0);
        let leaf = shown.parse_x509().unwrap();
        let second = now.as_second();
        let validity = leaf.validity();
        assert!(validity.not_before.timestamp() <= second, "{what}: not yet valid");
        assert!(validity.not_after.timestamp() > second, "{what}: expired");
        let handed_out = self.handed_out();
        let authority = handed_out[0].parse_x509().unwrap();
        assert!(leaf.verify_signature(Some(authority.public_key())).is_ok(), "{what}: another's");
        assert!(authority.validity().not_before.timestamp() <= second, "{what}: a later authority");
        assert!(
            authority.validity().not_after >= validity.not_after,
            "{what}: an authority that ends sooner"
        );
    }

    fn handed_out(&self) -> Vec<Pem> {
        certificates(&fs::read(self.tls("ca.crt")).unwrap())
    }

    fn tls(&self, name: &str) -> PathBuf {
        self.root.path().join(TLS).join(name)
    }
}

fn certificates(text: &[u8]) -> Vec<Pem> {
    Pem::iter_from_buffer(text).map(Result::unwrap).collect()
}

fn addresses() -> Vec<IpAddr> {
    ["192.168.1.7", "fd00::7", "2001:db8::7"].iter().map(|address| address.parse().unwrap()).collect()
}

fn day(days: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap().checked_add((days * 24).hours()).unwrap()
}

#[test]
fn a_clock_that_jumps_is_followed_at_once_and_the_authority_stays() {
    let it = Box::new();
    let authority = it.start(day(0)).tls.unwrap().ca_sha256;
    it.assert_shown(day(0), "at first");
    for days in [730, 0, -20, 0, 8_000, 0] {
        let report = it.announce(day(days)).tls.unwrap();
        it.assert_shown(day(days), &format!("{days} days off"));
        assert!(days > 2_000 || report.ca_sha256 == authority, "{days} days off");
    }
    assert!(files(&it.tls("authorities")).len() <= 2, "jumps fill the folder");
}

#[test]
fn a_box_looked_at_every_day_for_years_is_never_without_a_good_certificate() {
    let it = Box::new();
    it.start(day(0));
    let mut trusted = it.handed_out();
    for days in 0..4_200 {
        it.announce(day(days));
        it.assert_shown(day(days), &format!("day {days}"));
        let now = it.handed_out();
        // Owners have had a month to trust what signs now.
        if days % 30 == 0 {
            assert!(
                trusted.iter().any(|before| before.contents == now[0].contents),
                "day {days}: a surprise"
            );
            trusted = now;
        }
    }
}

#[test]
fn an_address_of_the_internet_does_not_spoil_the_certificate() {
    let it = Box::new();
    let names = it.start(day(0)).tls.unwrap().names;
    // Neither the bare name: for all that the authority knows it is a domain of the internet.
    let expected =
        ["kitchen.local", "actionbooster.local", "localhost", "127.0.0.1", "::1", "192.168.1.7", "fd00::7"];
    assert_eq!(names, expected);
}

/// A box of a first version: its key, its certificate.
fn old_box() -> (Box, String, Vec<u8>) {
    let it = Box::new();
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "ActionBooster local authority 0a1b2c3d");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let second = |days| time::OffsetDateTime::from_unix_timestamp(day(days).as_second()).unwrap();
    (parameters.not_before, parameters.not_after) = (second(-500), second(3_500));
    let certificate = parameters.self_signed(&key).unwrap();
    write(it.root.path(), &format!("{TLS}/ca.key"), &key.serialize_pem());
    write(it.root.path(), &format!("{TLS}/ca.crt"), &certificate.pem());
    let secret = key.serialize_pem().lines().nth(1).unwrap().to_owned();
    (it, secret, certificate.der().to_vec())
}

fn holds(root: &Path, secret: &str) -> bool {
    files(root).values().any(|contents| String::from_utf8_lossy(contents).contains(secret))
}

#[test]
fn a_box_with_an_authority_without_limits_moves_over_in_a_month() {
    let (it, secret, old) = old_box();
    let tls = it.start(day(0)).tls.unwrap();
    let handed_out = it.handed_out();
    assert_eq!((handed_out.len(), &handed_out[0].contents), (2, &old), "the old one still signs");
    assert!(!tls.ca_limited);
    assert_eq!(tls.next.as_ref().unwrap().from, day(30));
    assert_eq!(certificates(&fs::read(it.tls("ca-next.crt")).unwrap())[0].contents, handed_out[1].contents);
    it.assert_shown(day(0), "after the update");
    it.announce(day(29));
    assert_eq!(it.handed_out()[0].contents, old);
    let tls = it.announce(day(30)).tls.unwrap();
    it.assert_shown(day(30), "a month later");
    assert!(tls.ca_limited && tls.next.is_none());
    assert_eq!(it.handed_out().len(), 1);
    assert_eq!(it.handed_out()[0].contents, handed_out[1].contents);
    assert!(!it.tls("ca-next.crt").exists());
    assert!(!holds(it.root.path(), &secret), "the old key is still there");
}

#[test]
fn moving_over_may_be_cut_at_any_instant() {
    let (whole, ..) = old_box();
    whole.system.cut_after(usize::MAX);
    whole.apply(day(0)).unwrap();
    for cut in 0..whole.system.effects.get() {
        let (it, secret, old) = old_box();
        it.system.cut_after(cut);
        assert!(it.apply(day(0)).is_err(), "cut after {cut} effects: the report was written");
        let what = format!("cut after {cut} effects");
        let tls = it.start(day(0)).tls.unwrap();
        assert_eq!(it.handed_out()[0].contents, old, "{what}: devices lost their authority");
        assert!(tls.next.is_some(), "{what}");
        it.assert_shown(day(0), &what);
        assert_eq!(files(&it.tls("authorities")).len(), 2, "{what}: files are left over");
        it.start(day(31));
        assert!(!holds(it.root.path(), &secret), "{what}: the old key is still there");
    }
}
