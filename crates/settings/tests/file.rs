//! `settings.toml`: written, read back, damaged, and written by other versions.
#![allow(clippy::unwrap_used, reason = "tests")]

use actionbooster_settings::{Change, MOST_SSH_KEYS, PublicKey, Settings};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ1aWx0IGZvciB0ZXN0cyBvbmx5LCBubyBzZWNyZXQh me@home";
const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA you@work";

fn read(text: &str) -> (Settings, Vec<String>) {
    read_over(text, &Settings::default())
}

fn read_over(text: &str, good: &Settings) -> (Settings, Vec<String>) {
    let (settings, faults) = Settings::read(text, good);
    (settings, faults.into_iter().map(|fault| fault.field).collect())
}

fn whole() -> Settings {
    let text = format!(
        "online = true\nhostname = \"kitchen-2\"\ntime_zone = \"Europe/Madrid\"\nssh_keys = [\"{KEY}\"]\n\
         later = 1\n[cluster]\njoin = [\"10.0.0.2\"]\nsecret = \"x\"\n"
    );
    let (settings, faults) = read(&text);
    assert_eq!(faults, [""; 0]);
    settings
}

fn change(text: &str) -> Change {
    serde_json::from_str(text).unwrap()
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(read(""), (Settings::default(), vec![]));
}

#[test]
fn what_was_written_is_read_and_what_others_wrote_stays() {
    let settings = whole();
    assert!(settings.online);
    assert_eq!(settings.hostname.as_ref().unwrap().as_str(), "kitchen-2");
    assert_eq!(settings.time_zone.as_str(), "Europe/Madrid");
    assert_eq!((settings.ssh_keys[0].as_str(), settings.join[0].as_str()), (KEY, "10.0.0.2"));
    let changed = settings.changed(change("{\"online\": false}")).unwrap();
    let text = changed.to_toml();
    assert!(text.contains("later = 1") && text.contains("secret = \"x\""), "{text}");
    let (again, faults) = read(&text);
    assert_eq!((again.to_toml(), faults), (text, vec![]));
    assert!(!again.online);
    assert_eq!((again.hostname, again.join), (changed.hostname, changed.join));
}

#[test]
fn a_name_that_the_owner_did_not_give_is_not_written() {
    let text = Settings::default().changed(change("{\"online\": true}")).unwrap().to_toml();
    assert!(!text.contains("hostname"), "{text}");
}

#[test]
fn one_bad_setting_costs_only_itself() {
    let good = whole();
    let cases = [
        ("hostname = \"-x\"", "hostname"),
        ("hostname = 3", "hostname"),
        ("time_zone = \"../UTC\"", "time_zone"),
        ("time_zone = []", "time_zone"),
        ("ssh_keys = 3", "ssh_keys"),
        ("cluster = 3", "cluster"),
        ("cluster.join = \"a\"", "cluster.join"),
    ];
    for (line, field) in cases {
        let rest = [
            ("hostname", "hostname = \"kitchen-2\"".to_owned()),
            ("time_zone", "time_zone = \"Europe/Madrid\"".to_owned()),
            ("ssh_keys", format!("ssh_keys = [\"{KEY}\"]")),
            ("cluster", "cluster.join = [\"10.0.0.2\"]".to_owned()),
        ];
        let rest = rest.iter().filter(|(name, _)| !field.starts_with(name)).map(|(_, line)| line.as_str());
        let text = format!("online = true\n{line}\n{}\n", rest.collect::<Vec<_>>().join("\n"));
        let (settings, faults) = read_over(&text, &good);
        assert_eq!(faults, [field], "{text}");
        let of = |settings: &Settings| {
            let Settings { online, hostname, time_zone, ssh_keys, join, .. } = settings.clone();
            (online, hostname, time_zone, ssh_keys, join)
        };
        assert_eq!(of(&settings), of(&good), "{text}");
        let (settings, _) = read(&text);
        assert!(settings.online, "{text}");
        assert_eq!(settings.hostname.is_none(), field == "hostname", "{text}");
    }
}

#[test]
fn of_a_list_only_the_bad_entries_are_left_out() {
    let text = format!(
        "ssh_keys = [\"{KEY}\", 'command=\"sh\" {KEY}', 3, \"{OTHER}\"]\ncluster.join = [\"a\", \"a b\"]"
    );
    let (settings, faults) = read(&text);
    assert_eq!(faults, ["ssh_keys[1]", "ssh_keys[2]", "cluster.join[1]"]);
    let keys: Vec<_> = settings.ssh_keys.iter().map(PublicKey::as_str).collect();
    assert_eq!(keys, [KEY, OTHER]);
    let many = format!("ssh_keys = [{}]", format!("\"{KEY}\",").repeat(MOST_SSH_KEYS + 1));
    let (settings, faults) = read(&many);
    assert_eq!((settings.ssh_keys.len(), faults), (MOST_SSH_KEYS, vec!["ssh_keys".to_owned()]));
}

#[test]
fn a_file_that_is_no_toml_means_the_last_good_settings_and_never_the_internet() {
    let good = whole();
    let closed = good.clone().changed(change("{\"online\": false}")).unwrap();
    for text in ["online = ", "\u{0}\u{0}\u{0}", "hostname = \"kit", "[", "online = true\nonline = true"] {
        let (settings, faults) = read_over(text, &good);
        assert_eq!(faults, ["settings.toml"], "{text:?}");
        assert_eq!(settings, closed, "{text:?}");
    }
    let (settings, faults) = read_over("online = \"no\"", &good);
    assert_eq!((settings.online, faults), (false, vec!["online".to_owned()]));
}

#[test]
fn a_change_with_a_bad_value_names_it() {
    let cases = [
        ("{\"hostname\": \"a b\"}", "hostname"),
        ("{\"time_zone\": \"/etc\"}", "time_zone"),
        ("{\"ssh_keys\": [\"x\"]}", "ssh_keys[0]"),
    ];
    for (text, field) in cases {
        let fault = Settings::default().changed(change(text)).unwrap_err();
        assert_eq!(fault.field, field);
        assert!(field.starts_with(fault.setting()), "{fault}");
    }
    let text = format!("{{\"ssh_keys\": [\"{KEY}\", \"{KEY} again\"], \"hostname\": \"BOX\"}}");
    let settings = Settings::default().changed(change(&text)).unwrap();
    assert_eq!((settings.ssh_keys.len(), settings.hostname.unwrap().as_str()), (1, "box"));
    assert!(serde_json::from_str::<Change>("{\"colour\": 1}").is_err());
}
