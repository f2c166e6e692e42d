//! The slots' commands, on a folder that is laid out like a box that was started from a slot.

use std::path::PathBuf;
use std::sync::Arc;

use actionbooster_updates::{BACKUP, Block, BootPartition, FOLDER, GRUBENV, Slot, Slots, Standing};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::{Answers, FakeBox, JSON, PROBLEM, Run, serve};
use crate::vision::answer;

const PAGE: (u16, &str, &str) = (200, "text/html", "<!doctype html><HTML lang=en>");

/// A box with daemons, nginx and a boot partition.
struct SlotBox {
    fake: FakeBox,
    nginx: Answers,
    portal: String,
}

impl SlotBox {
    /// Slot `running` was started, and this is what GRUB knows.
    fn new(running: Slot, slots: &Slots) -> Self {
        let fake = FakeBox::new(&[]);
        let root = fake.root.path();
        std::fs::create_dir_all(root.join("proc")).unwrap();
        std::fs::create_dir_all(root.join(FOLDER)).unwrap();
        std::fs::write(root.join("proc/cmdline"), format!("quiet actionbooster.slot={running}\n")).unwrap();
        let mut block = Block::default();
        slots.write(&mut block);
        for name in [GRUBENV, BACKUP] {
            std::fs::write(root.join(FOLDER).join(name), block.bytes().unwrap()).unwrap();
        }
        let nginx = Answers::default();
        let portal = Self::serve_portal(&fake, &nginx);
        Self { fake, nginx, portal }
    }

    /// nginx, whose certificate no authority has signed and which ended long ago.
    fn serve_portal(fake: &FakeBox, answers: &Answers) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["old.local".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
        let certificate = parameters.self_signed(&key).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = fake.runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sent, answers) = (Arc::clone(&fake.sent), Arc::clone(answers));
        fake.runtime().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(serve(stream, Arc::clone(&sent), Arc::clone(&answers)));
                }
            }
        });
        address
    }

    fn nginx(&self, answers: &[(u16, &'static str, &str)]) {
        let answers = answers.iter().map(|(status, kind, body)| (*status, *kind, (*body).to_owned()));
        self.nginx.lock().unwrap().extend(answers);
    }

    /// Everything is as it should be in the slot; `health` is what the monitor says of the owner's things.
    fn works(&self, health: (u16, &str)) {
        self.nginx(&[PAGE]);
        let found = answer(|_| ());
        let well = version(env!("CARGO_PKG_VERSION"));
        self.fake.answer(&[(health.0, JSON, health.1), (200, JSON, &well), (200, JSON, &well)]);
        self.fake.answer(&[(200, JSON, &found), (200, JSON, &found)]);
    }

    fn slot(&self, arguments: &[&str]) -> Run {
        self.fake.run(&[&["slot"], arguments].concat())
    }

    fn prove(&self) -> Run {
        self.slot(&["prove", "--portal", &self.portal])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.fake.root.path().join(FOLDER).join(name)
    }

    fn known(&self) -> Slots {
        BootPartition::below(self.fake.root.path()).read().unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.fake.run_path("slot.json")).unwrap()).unwrap()
    }
}

fn version(version: &str) -> String {
    json!({"status": "ok", "version": version, "components": []}).to_string()
}

/// Slot B is new and was started once; A works.
fn trial() -> Slots {
    let mut block = Block::default();
    for (name, value) in
        [("ORDER", "B A"), ("A_OK", "1"), ("A_TRY", "0"), ("A_PROVEN", "1"), ("B_OK", "1"), ("B_TRY", "1")]
    {
        block.set(name, value);
    }
    Slots::of(&block).unwrap()
}

#[test]
fn a_slot_that_works_is_kept_whatever_its_owner_did() {
    let degraded = json!({"status": "degraded", "version": env!("CARGO_PKG_VERSION"),
                          "components": [{"name": "settings", "status": "degraded", "detail": "damaged"}]});
    for (status, body) in [(200, degraded.to_string()), (503, degraded.to_string())] {
        let this = SlotBox::new(Slot::B, &trial());
        this.works((status, &body));
        let run = this.prove();
        assert_eq!(run.code, 0, "{run:?}");
        let mut good = trial();
        good.mark_good(Slot::B);
        assert_eq!(this.known(), good);
        assert_eq!(std::fs::read(this.path(GRUBENV)).unwrap(), std::fs::read(this.path(BACKUP)).unwrap());
        assert_eq!(this.report()["check"], json!({"state": "passed"}));
        let shown = this.slot(&[]);
        assert_eq!(shown.code, 0, "{shown:?}");
        for words in ["B     runs  proven    12", "A           proven    12", "works    passed"] {
            assert!(shown.stdout.contains(words), "no {words:?} in\n{}", shown.stdout);
        }
    }
}

type Said<'a> = &'a [(u16, &'static str, &'a str)];

#[test]
fn a_slot_that_does_not_work_stays_on_trial_and_says_why() {
    let well = version(env!("CARGO_PKG_VERSION"));
    let (old, found) = (version("0.0.9"), answer(|found| drop(found.pop())));
    let daemons = [(200, JSON, well.as_str()); 3];
    let cases: [(Said, Said, &str); 6] = [
        (&[(502, "text/html", "no")], &[], "nginx does not serve the portal"),
        (&[(503, "text/html", "data")], &[], "nginx does not serve the portal"),
        (&[(200, "text/html", "Welcome")], &[], "something else than the portal"),
        (
            &[PAGE],
            &[(200, JSON, &well), (200, JSON, &old), (200, JSON, &well)],
            "the agent is of version 0.0.9",
        ),
        (
            &[PAGE],
            &[daemons[0], daemons[1], (200, JSON, "{}")],
            "the worker answers without saying its version",
        ),
        (
            &[PAGE],
            &[daemons[0], daemons[1], daemons[2], (200, JSON, &found), (200, JSON, &found)],
            "was not found",
        ),
    ];
    for (nginx, answers, words) in cases {
        let this = SlotBox::new(Slot::B, &trial());
        this.nginx(nginx);
        this.fake.answer(answers);
        let run = this.prove();
        assert_eq!(run.code, 1, "{words}: {run:?}");
        assert!(run.stderr.contains(words) && run.stderr.contains("the box restarts"), "{words}: {run:?}");
        assert_eq!(this.known(), trial(), "{words}");
        assert_eq!(this.report()["check"]["then"], "restart", "{words}");
        assert_eq!(this.slot(&[]).code, 1, "{words}");
    }
}

#[test]
fn a_daemon_that_is_silent_is_told_by_name() {
    let this = SlotBox::new(Slot::A, &trial());
    std::fs::remove_file(this.fake.run_path("worker.sock")).unwrap();
    let well = version(env!("CARGO_PKG_VERSION"));
    this.nginx(&[PAGE]);
    this.fake.answer(&[(200, JSON, &well), (200, JSON, &well)]);
    let run = this.prove();
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("the worker does not answer"), "{run:?}");
    assert!(run.stderr.contains("it worked before"), "a proven slot is kept: {run:?}");
}

#[test]
fn the_check_asks_again_until_everything_answers_and_changes_nothing() {
    let this = SlotBox::new(Slot::B, &trial());
    this.nginx(&[(502, "text/html", "starting")]);
    this.works((200, &version(env!("CARGO_PKG_VERSION"))));
    let run = this.slot(&["check", "--wait", "30", "--portal", &this.portal]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "this slot works\n"), "{run:?}");
    assert_eq!(this.known(), trial());
    assert!(!this.fake.run_path("slot.json").exists());
}

#[test]
fn a_box_with_a_damaged_data_partition_has_a_slot_that_works() {
    let this = SlotBox::new(Slot::B, &trial());
    std::fs::write(this.fake.run_path("data-damaged"), "bad superblock").unwrap();
    this.works((200, &version(env!("CARGO_PKG_VERSION"))));
    this.nginx.lock().unwrap().clear();
    this.nginx(&[(503, "text/html", "the page that says so")]);
    assert_eq!(this.prove().code, 0);
}

#[test]
fn a_damaged_environment_is_made_again_and_told() {
    let this = SlotBox::new(Slot::B, &trial());
    std::fs::write(this.path(GRUBENV), "").unwrap();
    std::fs::write(this.path(BACKUP), [0xa5; 1024]).unwrap();
    std::fs::create_dir_all(this.fake.root.path().join("dev/actionbooster")).unwrap();
    std::fs::write(this.fake.root.path().join("dev/actionbooster/root-a"), "hsqs and more").unwrap();
    this.works((200, &version(env!("CARGO_PKG_VERSION"))));
    let run = this.prove();
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("has 0 bytes instead of 1024"), "{run:?}");
    let states = this.known().states();
    assert_eq!((states[0].slot, states[0].standing), (Slot::B, Standing::Proven { tries_left: 12 }));
    assert_eq!((states[1].slot, states[1].standing), (Slot::A, Standing::OnTrial { tries_left: 3 }));
    assert!(this.slot(&[]).stdout.contains("mended"), "told afterwards too");
}

#[test]
fn a_boot_partition_that_cannot_be_written_is_told_and_restarts_nothing() {
    let this = SlotBox::new(Slot::B, &trial());
    std::fs::remove_dir_all(this.fake.root.path().join(FOLDER)).unwrap();
    this.works((200, &version(env!("CARGO_PKG_VERSION"))));
    let run = this.prove();
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(this.report()["check"]["then"], Value::Null, "{run:?}");
    assert!(run.stderr.contains("cannot be kept"), "{run:?}");
}

#[test]
fn what_is_about_to_be_overwritten_is_proven_no_more() {
    let this = SlotBox::new(Slot::B, &trial());
    let run = this.slot(&["release"]);
    assert_eq!(run.code, 0, "{run:?}");
    let mut released = trial();
    released.release(Slot::A);
    assert_eq!(this.known(), released);
    assert_eq!(std::fs::read(this.path(GRUBENV)).unwrap(), std::fs::read(this.path(BACKUP)).unwrap());
}

#[test]
fn elsewhere_than_on_a_box_nothing_is_touched() {
    let fake = FakeBox::new(&[(200, PROBLEM, "")]);
    for arguments in [&["slot"][..], &["slot", "prove"], &["slot", "release"]] {
        let run = fake.run(arguments);
        assert_eq!(run.code, 1, "{arguments:?}: {run:?}");
        assert!(run.stderr.contains("box itself") || run.stderr.contains("proc/cmdline"), "{run:?}");
    }
    let run = fake.run(&["slot", "--url", "http://127.0.0.1:1"]);
    assert_eq!(run.code, 2, "{run:?}");
}
