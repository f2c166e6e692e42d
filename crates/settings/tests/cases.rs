//! The rules against the table that the portal's tests read too.
#![allow(clippy::unwrap_used, reason = "tests")]

use actionbooster_settings::{
    Address, Hostname, HostnameError, PublicKey, PublicKeyError, TimeZone, account, claim_code,
};
use serde_json::Value;

fn table(rule: &str) -> Value {
    let cases: Value = serde_json::from_str(include_str!("cases.json")).unwrap();
    cases[rule].clone()
}

/// Every good value with what it becomes; every bad value with the name of its fault.
fn pairs(rule: &str, side: &str) -> Vec<(String, String)> {
    let table = table(rule);
    let pairs = table[side].as_array().unwrap().iter();
    pairs.map(|pair| (pair[0].as_str().unwrap().into(), pair[1].as_str().unwrap().into())).collect()
}

fn values(rule: &str, side: &str) -> Vec<String> {
    let table = table(rule);
    table[side].as_array().unwrap().iter().map(|value| value.as_str().unwrap().into()).collect()
}

#[test]
fn host_names() {
    for (typed, name) in pairs("hostname", "good") {
        assert_eq!(Hostname::parse(&typed).map(|name| name.to_string()), Ok(name), "{typed:?}");
    }
    for (typed, fault) in pairs("hostname", "bad") {
        let expected = if fault == "localhost" { HostnameError::Localhost } else { HostnameError::Shape };
        assert_eq!(Hostname::parse(&typed), Err(expected), "{typed:?}");
    }
}

#[test]
fn ssh_keys() {
    for (typed, line) in pairs("ssh_key", "good") {
        assert_eq!(PublicKey::parse(&typed).map(|key| key.to_string()), Ok(line), "{typed:?}");
    }
    for (typed, fault) in pairs("ssh_key", "bad") {
        let found = PublicKey::parse(&typed).map_err(PublicKeyError::name);
        assert_eq!(found.map(|key| key.to_string()), Err(fault.as_str()), "{typed:?}");
    }
}

#[test]
fn a_key_is_the_same_with_another_comment() {
    let keys = pairs("ssh_key", "good");
    let key = PublicKey::parse(&keys[0].0).unwrap();
    let kind_and_body: Vec<&str> = keys[0].0.split(' ').take(2).collect();
    assert!(key.is_same_key(&PublicKey::parse(&kind_and_body.join(" ")).unwrap()));
    assert!(!key.is_same_key(&PublicKey::parse(&keys[1].0).unwrap()));
}

#[test]
fn claim_codes() {
    for (typed, code) in pairs("claim_code", "good") {
        let normal = claim_code::normalise(&typed);
        assert!(claim_code::is_code(&normal), "{typed:?}");
        assert_eq!(normal, code);
    }
    for typed in values("claim_code", "bad") {
        assert!(!claim_code::is_code(&claim_code::normalise(&typed)), "{typed:?}");
    }
    for byte in 0..=u8::MAX {
        assert!(claim_code::is_code(&claim_code::from_random([byte; claim_code::LENGTH])), "{byte}");
    }
    assert_eq!(claim_code::shown("K7QM2XPD"), "K7QM-2XPD");
}

#[test]
fn names_and_passwords_of_owners() {
    for name in values("owner_name", "good") {
        assert_eq!(account::name(&format!(" {name} ")), Ok(name.as_str()));
    }
    for name in values("owner_name", "bad") {
        assert!(account::name(&name).is_err(), "{name:?}");
    }
    for password in values("password", "good") {
        assert_eq!(account::check_password(&password), Ok(()), "{password:?}");
    }
    for password in values("password", "bad") {
        assert!(account::check_password(&password).is_err(), "{password:?}");
    }
}

#[test]
fn addresses() {
    for (typed, address) in pairs("address", "good") {
        assert_eq!(Address::parse(&typed).map(|address| address.to_string()), Ok(address), "{typed:?}");
    }
    for typed in values("address", "bad") {
        assert!(Address::parse(&typed).is_err(), "{typed:?}");
    }
}

#[test]
fn time_zones() {
    for name in values("time_zone", "good") {
        assert_eq!(TimeZone::parse(&name).map(|zone| zone.to_string()), Ok(name));
    }
    for name in values("time_zone", "bad") {
        assert!(TimeZone::parse(&name).is_err(), "{name:?}");
    }
}
