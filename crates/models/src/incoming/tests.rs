use std::time::{Duration, SystemTime};

use super::tidy::ABANDONED;
use super::*;
use crate::manifest::Role;

fn guide() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/guide/guide.gguf");
    fs::read(path).expect("the guide")
}

fn wanted(size_bytes: u64) -> Wanted {
    Wanted::new("My Guide_v1.gguf".into(), size_bytes)
}

fn incoming(root: &Path) -> Incoming {
    Incoming::new(Store::new("/nowhere".into(), root.to_path_buf()))
}

fn send(incoming: &Incoming, upload: &str, offset: u64, bytes: &[u8]) -> Result<u64, IncomingError> {
    let mut writer = incoming.write(upload, offset)?;
    writer.add(bytes)?;
    writer.close()
}

#[test]
fn a_model_comes_in_pieces_and_is_in_the_store_when_it_is_whole() {
    let root = tempfile::tempdir().expect("folder");
    let content = guide();
    let size = content.len() as u64;
    let upload = incoming(root.path()).begin(&wanted(size)).expect("begun");
    assert_eq!(upload.id, "my-guide_v1");
    let half = content.len() / 2;
    assert_eq!(send(&incoming(root.path()), &upload.upload, 0, &content[..half]).expect("sent"), half as u64);
    // Another process goes on.
    let incoming = incoming(root.path());
    let again = incoming.begin(&wanted(size)).expect_err("coming already").to_string();
    assert!(again.contains(&upload.upload), "{again}");
    let error = send(&incoming, &upload.upload, 3, b"x").expect_err("wrong offset");
    assert!(matches!(error, IncomingError::Offset { received } if received == half as u64));
    assert!(matches!(incoming.finish(&upload.upload), Err(IncomingError::Unfinished { .. })));
    assert!(matches!(
        send(&incoming, &upload.upload, half as u64, &vec![0; 8 << 20]),
        Err(IncomingError::TooMuch { .. })
    ));
    send(&incoming, &upload.upload, half as u64, &content[half..]).expect("sent");
    let model = incoming.finish(&upload.upload).expect("finished");
    model.verify().expect("whole");
    assert_eq!(model.manifest.roles, [Role::General]);
    assert_eq!(incoming.list().expect("list"), []);
    assert!(matches!(incoming.begin(&wanted(size)), Err(IncomingError::Taken(_))));
    let copy = incoming.store.copy(&model, "twin").expect("copied");
    copy.verify().expect("whole");
    assert!(matches!(incoming.store.copy(&model, "twin"), Err(IncomingError::Taken(_))));
    assert!(matches!(incoming.store.copy(&model, "../x"), Err(IncomingError::Invalid(_))));
    incoming.store.remove(&model).expect("removed");
    copy.verify().expect("still whole");
    assert!(incoming.store.open("my-guide_v1").is_err());
    assert_eq!(fs::read_dir(root.path().join(FOLDER)).expect("folder").count(), 0);
}

#[test]
fn an_import_goes_on_with_the_same_file_only() {
    let origin = |address: &str, validator: Option<&str>| Origin {
        address: address.into(),
        validator: validator.map(str::to_owned),
    };
    let digest = |digit: &str| Wanted { sha256: Some(digit.repeat(64)), ..wanted(10) };
    let first = origin("https://a/x.gguf", Some("\"v1\""));
    let cases = [
        ("the same place, unchanged", wanted(10), first.clone(), wanted(10), first.clone(), true),
        (
            "it has changed",
            wanted(10),
            first.clone(),
            wanted(10),
            origin(&first.address, Some("\"v2\"")),
            false,
        ),
        (
            "another place",
            wanted(10),
            first.clone(),
            wanted(10),
            origin("https://b/x.gguf", Some("\"v1\"")),
            false,
        ),
        ("another size", wanted(10), first.clone(), wanted(11), first.clone(), false),
        (
            "nobody knows",
            wanted(10),
            origin(&first.address, None),
            wanted(10),
            origin(&first.address, None),
            false,
        ),
        ("the same digest from elsewhere", digest("a"), first.clone(), digest("a"), origin("b", None), true),
        ("another digest", digest("a"), first.clone(), digest("b"), origin("b", None), false),
    ];
    for (name, came, from, wanted, now_from, goes_on) in cases {
        let root = tempfile::tempdir().expect("folder");
        let before = incoming(root.path()).import(&came, &from).expect("begun").upload;
        send(&incoming(root.path()), &before, 0, b"half").expect("sent");
        let after = incoming(root.path()).import(&wanted, &now_from).expect("begun");
        assert_eq!((after.upload == before, after.received_bytes == 4), (goes_on, goes_on), "{name}");
        assert_eq!(incoming(root.path()).list().expect("list").len(), 1, "{name}");
    }
    let root = tempfile::tempdir().expect("folder");
    let sent = incoming(root.path()).begin(&wanted(10)).expect("begun").upload;
    let error = incoming(root.path()).import(&wanted(10), &first).expect_err("somebody sends it");
    assert!(matches!(error, IncomingError::Coming { upload, .. } if upload == sent));
}

#[test]
fn a_copy_is_made_where_tidying_leaves_it_alone() {
    let root = tempfile::tempdir().expect("folder");
    let incoming = incoming(root.path());
    let content = guide();
    let upload = incoming.begin(&wanted(content.len() as u64)).expect("begun").upload;
    send(&incoming, &upload, 0, &content).expect("sent");
    let model = incoming.finish(&upload).expect("finished");
    let folder = incoming.store.staging().expect("folder");
    fs::write(folder.join("half"), "of a copy").expect("written");
    incoming.tidy(|_, dated| dated.elapsed().unwrap_or_default()).expect("tidied");
    assert!(folder.join("half").exists());
    incoming.store.copy(&model, "twin").expect("copied").verify().expect("whole");
}

#[test]
fn one_writes_at_a_time() {
    let root = tempfile::tempdir().expect("folder");
    let incoming = incoming(root.path());
    let upload = incoming.begin(&wanted(10)).expect("begun").upload;
    let writer = incoming.write(&upload, 0).expect("turn");
    assert!(matches!(incoming.write(&upload, 0), Err(IncomingError::Busy(_))));
    assert!(matches!(incoming.abandon(&upload), Err(IncomingError::Busy(_))));
    drop(writer);
    incoming.abandon(&upload).expect("abandoned");
    assert!(matches!(incoming.get(&upload), Err(IncomingError::Missing(_))));
    for name in ["../x", "u-../x", "", "u-0"] {
        assert!(matches!(incoming.get(name), Err(IncomingError::Missing(_))), "{name}");
    }
}

#[test]
fn what_is_no_model_or_not_the_promised_one_stays_out() {
    let root = tempfile::tempdir().expect("folder");
    let incoming = incoming(root.path());
    let upload = incoming.begin(&wanted(9)).expect("begun").upload;
    send(&incoming, &upload, 0, b"not GGUF!").expect("sent");
    assert!(matches!(incoming.finish(&upload), Err(IncomingError::Refused(_))));
    incoming.abandon(&upload).expect("abandoned");
    let content = guide();
    let promised = Wanted { sha256: Some("0".repeat(64)), ..wanted(content.len() as u64) };
    let upload = incoming.begin(&promised).expect("begun").upload;
    send(&incoming, &upload, 0, &content).expect("sent");
    assert!(matches!(incoming.finish(&upload), Err(IncomingError::Digest { .. })));
    assert!(incoming.store.list().0.is_empty());
    for wrong in [
        Wanted { size_bytes: 0, ..wanted(1) },
        Wanted { id: Some("../x".into()), ..wanted(1) },
        Wanted { sha256: Some("x".into()), ..wanted(1) },
        Wanted { file_name: "…".into(), ..wanted(1) },
    ] {
        assert!(matches!(incoming.begin(&wrong), Err(IncomingError::Invalid(_))), "{wrong:?}");
    }
    let huge = Wanted { id: Some("huge".into()), ..wanted(u64::MAX / 2) };
    assert!(matches!(incoming.begin(&huge), Err(IncomingError::Full { .. })));
}

#[test]
fn a_full_disk_is_told_and_what_came_stays() {
    let root = tempfile::tempdir().expect("folder");
    let incoming = incoming(root.path());
    let upload = incoming.begin(&wanted(100)).expect("begun");
    let file = root.path().join(FOLDER).join(&upload.upload).join("my-guide_v1.gguf");
    // A device without any room stands for the disk.
    std::os::unix::fs::symlink("/dev/full", &file).expect("link");
    let mut writer = incoming.write(&upload.upload, 0).expect("turn");
    assert!(matches!(writer.add(b"some bytes"), Err(IncomingError::Full { .. })));
    drop(writer);
    fs::remove_file(&file).expect("room again");
    assert_eq!(send(&incoming, &upload.upload, 0, b"some bytes").expect("sent"), 10);
}

/// Finishing is cut after each of its steps; the next try, or the store itself, has the whole model.
#[test]
fn a_power_cut_while_finishing_loses_nothing() {
    let content = guide();
    for steps in 0..4 {
        let root = tempfile::tempdir().expect("folder");
        let first = incoming(root.path());
        let upload = first.begin(&wanted(content.len() as u64)).expect("begun");
        send(&first, &upload.upload, 0, &content).expect("sent");
        let folder = root.path().join(FOLDER).join(&upload.upload);
        // What the disk may look like after the cut.
        if steps >= 1 {
            fs::write(folder.join(".manifest.toml.new"), "half a mani").expect("write");
        }
        if steps >= 2 {
            fs::write(folder.join("manifest.toml"), "id = \"an older one\"").expect("write");
        }
        if steps >= 3 {
            incoming(root.path()).finish(&upload.upload).expect("finished");
            fs::write(root.path().join("my-guide_v1").join(ANNOUNCEMENT), "left over").expect("write");
        } else {
            let model = incoming(root.path()).finish(&upload.upload).expect("finished");
            model.verify().expect("whole");
        }
        let (models, errors) = first.store.list();
        assert_eq!((models.len(), errors.len()), (1, 0), "after {steps} steps");
    }
}

#[test]
fn what_was_left_alone_is_removed() {
    let root = tempfile::tempdir().expect("folder");
    let incoming = incoming(root.path());
    let fresh = incoming.begin(&Wanted { id: Some("a".into()), ..wanted(5) }).expect("begun").upload;
    let old = incoming.begin(&Wanted { id: Some("b".into()), ..wanted(5) }).expect("begun").upload;
    let folder = root.path().join(FOLDER);
    let long_ago = SystemTime::now() - ABANDONED - Duration::from_secs(60);
    for path in [folder.join(&old).join(ANNOUNCEMENT), folder.join(&old)] {
        File::open(path).expect("open").set_modified(long_ago).expect("time");
    }
    fs::create_dir(folder.join("trash-1")).expect("folder");
    fs::create_dir(root.path().join(".trash-2")).expect("folder");
    let age = |_: &str, dated: SystemTime| dated.elapsed().unwrap_or_default();
    incoming.tidy(age).expect("tidied");
    let left: Vec<String> = incoming.list().expect("list").into_iter().map(|upload| upload.upload).collect();
    assert_eq!(left, [fresh]);
    assert!(!folder.join("trash-1").exists() && !root.path().join(".trash-2").exists());
}
