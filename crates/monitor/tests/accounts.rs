//! The owner's account on a running monitor: who has to wait, what a full disk does, what a reset takes
//! away.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const AUTH: &str = "var/lib/actionbooster/auth";
const CODE: &str = "ABCDEFGH";
const PASSWORD: &str = "correct horse battery";
const OWNER: &str = "192.0.2.10";
const ATTACKER: &str = "192.0.2.66";
const DISK_BYTES: u64 = 4 << 20;

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: String,
    body: Value,
}

/// A monitor below a root of its own. It ends when dropped.
struct Monitor {
    root: PathBuf,
    process: Child,
}

impl Monitor {
    /// Starts it with the variables of its unit.
    fn start(root: &Path) -> Self {
        let unit = std::fs::read_to_string(shipped("systemd/monitor/booster-monitor.service")).unwrap();
        let variables = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
        let process = Command::new(env!("CARGO_BIN_EXE_booster-monitor"))
            .envs(variables)
            .env("ACTIONBOOSTER_ROOT", root)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let monitor = Self { root: root.to_path_buf(), process };
        let started = Instant::now();
        while UnixStream::connect(monitor.socket()).is_err() {
            assert!(started.elapsed() < LIMIT, "the monitor does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        monitor
    }

    /// Starts it for a box that may be claimed with `CODE`.
    fn claimable(root: &Path) -> Self {
        let folder = root.join(AUTH);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("claim-code"), CODE).unwrap();
        Self::start(root)
    }

    fn restart(self) -> Self {
        let root = self.root.clone();
        drop(self);
        Self::start(&root)
    }

    fn socket(&self) -> PathBuf {
        self.root.join("run/actionbooster/monitor.sock")
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait().map(drop)) {
            eprintln!("the monitor was already gone: {error}");
        }
    }
}

/// What the repository ships.
fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Sends a request as nginx passes it on, or, without an address, as root at the console does.
fn send(monitor: &Monitor, line: &str, from: Option<&str>, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut stream = UnixStream::connect(monitor.socket()).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut text = format!(
        "{line} HTTP/1.1\r\nhost: box\r\norigin: https://box\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers.iter().copied().chain(from.map(|address| ("x-forwarded-for", address))) {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    // A refusal may come, and the connection close, before the whole is written.
    let _ = stream.write_all(format!("{text}\r\n{body}").as_bytes());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    let answer = String::from_utf8(answer).unwrap();
    let (headers, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: headers.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: headers.to_owned(),
        body: serde_json::from_str(body).unwrap_or_default(),
    }
}

/// What a browser keeps of an answer.
fn cookies(answer: &Answer) -> HashMap<&str, &str> {
    let set = answer.headers.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    set.map(|cookie| cookie.split(';').next().unwrap().split_once('=').unwrap()).collect()
}

fn claim(monitor: &Monitor) -> Answer {
    let body = json!({"code": CODE, "name": "ana", "password": PASSWORD});
    let answer = send(monitor, "POST /api/v1/claim", Some(OWNER), &[], &body);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer
}

fn login(monitor: &Monitor, from: &str, device: Option<&str>, password: &str) -> Answer {
    let cookie = device.map(|value| format!("booster_device={value}"));
    let headers: Vec<_> = cookie.iter().map(|cookie| ("cookie", cookie.as_str())).collect();
    let body = json!({"name": "ana", "password": password});
    send(monitor, "POST /api/v1/login", Some(from), &headers, &body)
}

/// Whether this session is taken for the owner's.
fn is_in(monitor: &Monitor, login: &Answer) -> bool {
    let cookie = format!("booster_session={}", cookies(login)["booster_session"]);
    let answer = send(monitor, "GET /api/v1/session", Some(OWNER), &[("cookie", &cookie)], &Value::Null);
    assert!(matches!(answer.status, 200 | 401), "{answer:?}");
    answer.status == 200
}

fn key(monitor: &Monitor) -> String {
    let body = json!({"name": "script", "scopes": ["read"]});
    let made = send(monitor, "POST /api/v1/keys", None, &[], &body);
    assert_eq!(made.status, 201, "{made:?}");
    made.body["key"].as_str().unwrap().to_owned()
}

fn with_key(monitor: &Monitor, key: &str) -> u16 {
    send(monitor, "GET /api/v1/session", Some(OWNER), &[("x-api-key", key)], &Value::Null).status
}

#[test]
fn somebody_who_guesses_keeps_neither_the_owners_browser_out_nor_other_networks() {
    let root = tempfile::tempdir().unwrap();
    let monitor = Monitor::claimable(root.path());
    let before = claim(&monitor);
    let device = cookies(&before)["booster_device"].to_owned();
    assert!(before.headers.contains(&format!(
        "booster_device={device}; Path=/api/v1/; Max-Age=34560000; HttpOnly; Secure; SameSite=Strict"
    )));
    for _ in 0..5 {
        assert_eq!(login(&monitor, ATTACKER, None, "a guess").status, 401);
    }
    let slowed = login(&monitor, ATTACKER, None, PASSWORD);
    assert_eq!((slowed.status, &slowed.body["type"]), (429, &json!("too-many-attempts")), "{slowed:?}");
    assert!(slowed.headers.contains("retry-after: "), "{slowed:?}");
    let forged = device.replace(['0', '1', '2'], "3");
    assert_eq!(
        login(&monitor, ATTACKER, Some(&forged), PASSWORD).status,
        429,
        "a made-up cookie is nobody's"
    );
    let own = login(&monitor, ATTACKER, Some(&device), PASSWORD);
    assert_eq!(own.status, 200, "behind the same address, with the cookie: {own:?}");
    assert_eq!(cookies(&own)["booster_device"], device, "it stays the same browser");
    assert_eq!(login(&monitor, OWNER, None, PASSWORD).status, 200, "another network, without the cookie");
    assert_eq!(
        login(&monitor, ATTACKER, None, PASSWORD).status,
        429,
        "nobody's success clears another's counter"
    );
    let monitor = monitor.restart();
    for _ in 0..5 {
        login(&monitor, ATTACKER, None, "a guess");
    }
    assert_eq!(
        login(&monitor, ATTACKER, Some(&device), PASSWORD).status,
        200,
        "it is known after a restart too"
    );
}

#[test]
fn wrong_codes_and_wrong_current_passwords_are_counted_alike() {
    let root = tempfile::tempdir().unwrap();
    let monitor = Monitor::claimable(root.path());
    let wrong = json!({"code": "AAAAAAAA", "name": "thief", "password": PASSWORD});
    let guess = |from| send(&monitor, "POST /api/v1/claim", Some(from), &[], &wrong).status;
    assert_eq!([(); 6].map(|()| guess(ATTACKER)), [403, 403, 403, 403, 403, 429]);
    claim(&monitor);
    let key = {
        let body = json!({"name": "admin", "scopes": ["admin"]});
        send(&monitor, "POST /api/v1/keys", None, &[], &body).body["key"].as_str().unwrap().to_owned()
    };
    let change = |()| {
        let body = json!({"current": "a guess", "new": "another password"});
        send(&monitor, "POST /api/v1/password", Some("192.0.2.99"), &[("x-api-key", &key)], &body).status
    };
    assert_eq!([(); 6].map(change), [401, 401, 401, 401, 401, 429]);
}

#[test]
fn the_recovery_key_of_the_disk_is_for_who_knows_the_password() {
    let root = tempfile::tempdir().unwrap();
    let monitor = Monitor::claimable(root.path());
    claim(&monitor);
    let body = json!({"name": "admin", "scopes": ["admin"]});
    let answer = send(&monitor, "POST /api/v1/keys", None, &[], &body);
    let headers = [("x-api-key", answer.body["key"].as_str().unwrap())];
    let ask = |headers: &[_], password: &str| {
        let body = json!({"password": password});
        send(&monitor, "POST /api/v1/recovery-key", Some(OWNER), headers, &body)
    };
    let plain = ask(&headers, PASSWORD);
    assert_eq!((plain.status, &plain.body["type"]), (404, &json!("not-encrypted")));
    let folder = root.path().join("run/actionbooster/secrets");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("recovery-key"), "ABCD-EFGH").unwrap();
    assert_eq!(ask(&[], PASSWORD).status, 401);
    let wrong = ask(&headers, "a guess");
    assert_eq!(wrong.status, 401);
    assert!(!wrong.body.to_string().contains("ABCD"));
    let right = ask(&headers, PASSWORD);
    assert_eq!((right.status, right.body), (200, json!({"recovery_key": "ABCD-EFGH"})));
    let root_on_the_box = send(&monitor, "POST /api/v1/recovery-key", None, &[], &json!({}));
    assert_eq!((root_on_the_box.status, &root_on_the_box.body["recovery_key"]), (200, &json!("ABCD-EFGH")));
    // Guesses are counted as at a login.
    assert_eq!([(); 6].map(|()| ask(&headers, "a guess").status), [401, 401, 401, 401, 401, 429]);
}

#[test]
fn many_passwords_at_once_stall_neither_keys_nor_the_box() {
    let root = tempfile::tempdir().unwrap();
    let monitor = Monitor::claimable(root.path());
    claim(&monitor);
    let key = key(&monitor);
    let ((told, logins), over) = (channel(), AtomicBool::new(false));
    let started = Instant::now();
    let mut took = std::thread::scope(|scope| {
        // As many as one place and its line hold.
        for number in 0..9 {
            let (monitor, told, over) = (&monitor, told.clone(), &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(login(monitor, &format!("198.51.100.{number}"), None, PASSWORD).status, 200);
                    told.send(()).unwrap();
                }
            });
        }
        let asked = (0..21).map(|_| {
            // Between two keys a login comes through, so that they run all the time.
            logins.recv().unwrap();
            let asked = Instant::now();
            assert_eq!(with_key(&monitor, &key), 200);
            asked.elapsed()
        });
        let took: Vec<_> = asked.collect();
        over.store(true, Ordering::Relaxed);
        took
    });
    drop(told);
    let each = started.elapsed() / u32::try_from(took.len() + logins.iter().count()).unwrap();
    took.sort();
    assert!(took[10] * 2 < each, "a key takes {:?} while a password takes {each:?}", took[10]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", monitor.process.id())).unwrap();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let modes = std::fs::read_to_string(shipped("provisioning/modes.toml")).unwrap();
    assert!(modes.contains("monitor = { percent = 3, min_mib = 96,"));
    assert!(kib("VmHWM:") < 96 * 1024 / 10 * 9, "{status}");
    assert!(kib("VmRSS:") < 32 * 1024, "what passwords took is given back: {status}");
}

#[test]
fn a_reset_ends_every_way_in_unless_the_keys_are_to_stay() {
    for keep in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let monitor = Monitor::claimable(root.path());
        let session = claim(&monitor);
        let key = key(&monitor);
        let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ1aWx0IGZvciB0ZXN0cyBvbmx5LCBubyBzZWNyZXQh me@home";
        let wish = json!({"ssh_keys": [ssh], "online": true});
        assert_eq!(send(&monitor, "PATCH /api/v1/settings", None, &[], &wish).status, 200);
        let wish = if keep { json!({"keep_keys": true}) } else { json!({}) };
        let refused = send(&monitor, "POST /api/v1/owner/reset", None, &[("x-api-key", &key)], &wish);
        assert_eq!(refused.status, 403, "only the console may");
        let answer = send(&monitor, "POST /api/v1/owner/reset", None, &[], &wish).body;
        let gone = u64::from(!keep);
        assert_eq!(answer["revoked"], json!({"sessions": 1, "api_keys": gone, "ssh_keys": gone}));
        assert!(!is_in(&monitor, &session));
        assert_eq!(with_key(&monitor, &key), if keep { 200 } else { 401 });
        let settings = send(&monitor, "GET /api/v1/settings", None, &[], &Value::Null).body;
        assert_eq!(settings["ssh_keys"], if keep { json!([ssh]) } else { json!([]) });
        assert_eq!(settings["online"], true, "other settings stay");
        // Whoever claims it with the new code is the owner, and the old browser is a stranger.
        let body = json!({"code": answer["claim_code"], "name": "ana", "password": "another password"});
        assert_eq!(send(&monitor, "POST /api/v1/claim", Some(OWNER), &[], &body).status, 201);
        let device = cookies(&session)["booster_device"].to_owned();
        let guesses = [(); 6].map(|()| login(&monitor, ATTACKER, Some(&device), "a guess").status);
        let others = [(); 1].map(|()| login(&monitor, ATTACKER, None, "a guess").status);
        assert_eq!((guesses, others), ([401, 401, 401, 401, 401, 429], [429]), "one counter for both");
    }
}

#[test]
fn a_box_without_owner_and_code_makes_itself_claimable_again() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(AUTH);
    std::fs::create_dir_all(&folder).unwrap();
    File::create(folder.join("claimed")).unwrap();
    let monitor = Monitor::start(root.path());
    let code = std::fs::read_to_string(folder.join("claim-code")).unwrap();
    let body = json!({"code": code, "name": "ana", "password": PASSWORD});
    assert_eq!(send(&monitor, "POST /api/v1/claim", Some(OWNER), &[], &body).status, 201);
}

#[test]
fn strangers_hear_of_health_in_states_alone() {
    let root = tempfile::tempdir().unwrap();
    let monitor = Monitor::claimable(root.path());
    let session = claim(&monitor);
    let health = |from, headers: &[(&str, &str)]| {
        let answer = send(&monitor, "GET /health", from, headers, &Value::Null);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["components"].as_array().unwrap().iter().any(|part| part["detail"] != "")
    };
    assert!(health(None, &[]), "the agent does not run here, and the console hears why");
    assert!(!health(Some(ATTACKER), &[]));
    let cookie = format!("booster_session={}", cookies(&session)["booster_session"]);
    assert!(health(Some(OWNER), &[("cookie", &cookie)]));
}

/// A small disk where the box keeps its data. Only root can make one.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    fn below(root: &Path) -> Self {
        let folder = root.join("var/lib/actionbooster");
        std::fs::create_dir_all(&folder).unwrap();
        let disk = Self { folder };
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "tmpfs"]);
        disk
    }

    fn mount(&self, arguments: &[&str]) {
        assert!(Command::new("mount").args(arguments).arg(&self.folder).status().unwrap().success());
    }

    /// Writes until nothing fits any more.
    fn fill(&self) {
        let mut file = File::create(self.folder.join("filler")).unwrap();
        let mut piece = 64 * 1024;
        while piece > 0 {
            match file.write(&vec![0x55; piece]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => piece /= 2,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if !Command::new("umount")
            .arg("--lazy")
            .arg(&self.folder)
            .status()
            .is_ok_and(|status| status.success())
        {
            eprintln!("{} is still mounted", self.folder.display());
        }
    }
}

#[test]
fn neither_a_full_disk_nor_one_that_can_only_be_read_keeps_the_owner_out() {
    let root = tempfile::tempdir().unwrap();
    let disk = SmallDisk::below(root.path());
    let monitor = Monitor::claimable(root.path());
    let kept = claim(&monitor);
    let key = key(&monitor);
    disk.fill();
    let full = login(&monitor, OWNER, None, PASSWORD);
    assert_eq!(full.status, 200, "{full:?}");
    assert!(is_in(&monitor, &full) && is_in(&monitor, &kept));
    assert_eq!(login(&monitor, ATTACKER, None, "a guess").status, 401);
    assert_eq!(with_key(&monitor, &key), 200);
    let wish = json!({"name": "more", "scopes": ["read"]});
    let refused = send(&monitor, "POST /api/v1/keys", None, &[], &wish);
    assert_eq!((refused.status, &refused.body["type"]), (507, &json!("cannot-write")), "{refused:?}");
    // Leaving works as well.
    let cookie = format!("booster_session={}", cookies(&kept)["booster_session"]);
    let left = send(&monitor, "POST /api/v1/logout", Some(OWNER), &[("cookie", &cookie)], &json!({}));
    assert_eq!(left.status, 204, "{left:?}");
    assert!(!is_in(&monitor, &kept));

    let monitor = monitor.restart();
    assert!(is_in(&monitor, &full), "the session outlives the monitor");
    assert_eq!(login(&monitor, OWNER, None, PASSWORD).status, 200, "it starts on a full disk");

    drop(monitor);
    disk.mount(&["-o", "remount,ro"]);
    let monitor = Monitor::start(root.path());
    let read_only = login(&monitor, OWNER, None, PASSWORD);
    assert_eq!(read_only.status, 200, "{read_only:?}");
    assert!(is_in(&monitor, &read_only));

    // The disk can be written again, and the monitor was not even started anew.
    disk.mount(&["-o", "remount,rw"]);
    std::fs::remove_file(disk.folder.join("filler")).unwrap();
    assert_eq!(login(&monitor, OWNER, None, PASSWORD).status, 200);
    assert_eq!(send(&monitor, "POST /api/v1/keys", None, &[], &wish).status, 201);
}
