#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn key(byte: u8) -> BoxKey {
    BoxKey([byte; KEY_BYTES])
}

#[test]
fn a_key_is_read_as_it_was_written_or_not_at_all() {
    let made = BoxKey::make().unwrap();
    let read = BoxKey::read(made.text().as_bytes()).unwrap();
    assert_eq!((read.0, read.id()), (made.0, made.id()));
    assert_ne!(made.id(), BoxKey::make().unwrap().id());
    assert_eq!(format!("{made:?}"), format!("BoxKey({})", made.id()));
    for text in ["", "x", "AAAA\n", &made.text()[..40]] {
        assert!(BoxKey::read(text.as_bytes()).is_none(), "{text:?}");
    }
    let ring = Keyring::of(&[key(1), key(2)], "agent");
    let again = Keyring::parse(&ring.text()).unwrap();
    assert_eq!(again.ids().collect::<Vec<_>>(), [key(1).id(), key(2).id()]);
    assert!(!format!("{ring:?}").contains(ring.text().split(' ').nth(1).unwrap().trim_end()));
    for text in ["", "\n", "one", "one AAAA", &format!("{}x", ring.text())] {
        assert!(Keyring::parse(text).is_none(), "{text:?}");
    }
}

#[test]
fn a_secret_is_opened_by_its_program_for_its_thing_alone() {
    let ring = Keyring::of(&[key(1)], "agent");
    let sealed = ring.seal("camera door", b"p@ss").unwrap();
    assert!(is_sealed(&sealed) && !is_sealed("p@ss") && !sealed.contains("p@ss"));
    assert!(sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)), "{sealed}");
    assert_eq!(ring.open("camera door", &sealed).unwrap(), b"p@ss");
    assert_ne!(sealed, ring.seal("camera door", b"p@ss").unwrap(), "two are never the same");
    assert_eq!(ring.open("camera yard", &sealed), Err(OpenError::Damaged));
    let other_program = Keyring::of(&[key(1)], "worker");
    assert_eq!(other_program.open("camera door", &sealed), Err(OpenError::Damaged));
    let other_box = Keyring::of(&[key(2)], "agent");
    assert_eq!(other_box.open("camera door", &sealed), Err(OpenError::UnknownKey(key(1).id())));
    assert_eq!(ring.open("camera door", "p@ss"), Err(OpenError::NotSealed));
}

#[test]
fn whatever_is_changed_in_a_sealed_text_is_seen() {
    let ring = Keyring::of(&[key(1)], "agent");
    let sealed = ring.seal("", b"secret").unwrap();
    for at in 0..sealed.len() {
        let mut other = sealed.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        assert!(ring.open("", &other).is_err(), "{other}");
        assert!(ring.open("", &sealed[..at]).is_err(), "cut after {at}");
    }
}

#[test]
fn a_second_key_opens_and_the_first_seals() {
    let before = Keyring::of(&[key(1)], "agent").seal("it", b"old").unwrap();
    let ring = Keyring::of(&[key(2), key(1)], "agent");
    assert_eq!(ring.open("it", &before).unwrap(), b"old");
    let after = ring.seal("it", b"new").unwrap();
    assert!(ring.is_current(&after) && !ring.is_current(&before));
    assert!(Keyring::of(&[key(2)], "agent").open("it", &after).is_ok());
}
