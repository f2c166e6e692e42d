//! The console as somebody at the box's keyboard meets it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, Stdio};

use crate::support::{FakeBox, JSON, PROBLEM, program};
use nix::pty::openpty;

const WELL: &str = r#"{"status":"ok","version":"0.1.0","components":[]}"#;

/// A console with a keyboard and a screen.
struct Seat {
    child: Child,
    keyboard: Option<std::process::ChildStdin>,
    screen: std::process::ChildStdout,
    seen: String,
}

impl Seat {
    fn new(fake: &FakeBox) -> Self {
        let mut child =
            fake.command(&["console"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keyboard, screen) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, keyboard, screen, seen: String::new() }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.keyboard.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Reads the screen until these words appear after those that were waited for before.
    fn wait_for(&mut self, words: &str) {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = self.seen.clone() + &String::from_utf8_lossy(&bytes);
            if let Some(at) = text.find(words) {
                text[at + words.len()..].clone_into(&mut self.seen);
                return;
            }
            let count = self.screen.read(&mut buffer).unwrap();
            assert!(count > 0, "the console ended without {words:?} in {text:?}");
            bytes.extend_from_slice(&buffer[..count]);
        }
    }

    fn leave(mut self) {
        drop(self.keyboard.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn the_page_and_the_state_are_shown_and_kept_current() {
    let fake = FakeBox::silent();
    let mut seat = Seat::new(&fake);
    seat.wait_for("Getting ready");
    seat.wait_for("starting");
    fake.answer(&[(200, JSON, WELL); 64]);
    fake.listen("monitor");
    fs::write(fake.run_path("console.txt"), "\n  Portal  https://box.local\x1b[31m\n").unwrap();
    seat.wait_for("https://box.local [31m");
    seat.wait_for("ok\n");
    fs::write(fake.run_path("console.txt"), "\n  Portal  https://192.168.1.7\n").unwrap();
    seat.wait_for("https://192.168.1.7");
    seat.leave();
}

#[test]
fn the_owner_is_reset_only_after_a_word_is_typed_and_the_word_decides_on_the_keys() {
    let revoked = r#"{"claim_code":"ABCD-EFGH","keys_kept":false,"revoked":{"sessions":1,"api_keys":2,"ssh_keys":3},"applied":true}"#;
    let kept = r#"{"claim_code":"JKLM-NPQR","keys_kept":true,"revoked":{"sessions":1,"api_keys":0,"ssh_keys":0},"applied":true}"#;
    let unapplied = r#"{"claim_code":"STUV-WXYZ","keys_kept":false,"revoked":{"sessions":1,"api_keys":0,"ssh_keys":1},"applied":false}"#;
    let fake = FakeBox::new(&[(200, JSON, WELL), (200, JSON, WELL)]);
    for answer in [revoked, kept, unapplied] {
        fake.answer(&[(200, JSON, answer), (200, JSON, WELL)]);
    }
    let resets = |fake: &FakeBox| {
        let sent = fake.sent().into_iter().filter(|sent| sent.line == "POST /api/v1/owner/reset");
        sent.map(|sent| sent.body["keep_keys"] == true).collect::<Vec<_>>()
    };
    let mut seat = Seat::new(&fake);
    let cases = [
        ("reset", &["Nothing was changed", "No se ha cambiado nada"][..]),
        ("RESET", &["ABCD-EFGH", "API 2, SSH 3"]),
        ("KEEP", &["JKLM-NPQR", "The keys were kept", "Las claves se han conservado"]),
        ("RESET", &["STUV-WXYZ", "Restart the box", "Reinicie el equipo"]),
    ];
    for (typed, shown) in cases {
        seat.wait_for("> ");
        seat.type_line("2");
        seat.wait_for("are revoked");
        seat.wait_for("para conservar las claves escriba KEEP");
        seat.type_line(typed);
        for words in shown {
            seat.wait_for(words);
        }
        seat.type_line("");
    }
    seat.wait_for("> ");
    seat.leave();
    assert_eq!(resets(&fake), [false, true, false]);
}

#[test]
fn power_needs_a_yes_and_a_refusal_is_shown() {
    let problem = r#"{"title":"t","detail":"Not an appliance."}"#;
    let fake =
        FakeBox::new(&[(200, JSON, WELL), (200, JSON, WELL), (409, PROBLEM, problem), (200, JSON, WELL)]);
    let mut seat = Seat::new(&fake);
    seat.wait_for("> ");
    seat.type_line("4");
    seat.wait_for("Switch off / Apagar? ");
    seat.type_line("no");
    seat.wait_for("> ");
    seat.type_line("3");
    seat.wait_for("Restart / Reiniciar? ");
    seat.type_line("sí");
    seat.wait_for("Not an appliance.");
    let lines: Vec<_> = fake.sent().into_iter().filter(|sent| sent.line.starts_with("POST")).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].body["action"], "reboot");
    seat.leave();
}

#[test]
fn a_flood_of_keys_and_bytes_that_are_no_text_do_no_harm() {
    let fake = FakeBox::silent();
    let mut seat = Seat::new(&fake);
    seat.wait_for("> ");
    let mut keyboard = seat.keyboard.take().unwrap();
    keyboard.write_all(&vec![0xff; 100_000]).unwrap();
    keyboard.write_all(b"\n5\n").unwrap();
    seat.keyboard = Some(keyboard);
    seat.wait_for("remove everything");
    seat.leave();
}

/// On a terminal the password is asked for and not shown.
#[test]
fn a_password_is_not_shown() {
    let fake = FakeBox::new(&[(204, JSON, "")]);
    let pty = openpty(None, None).unwrap();
    let tty = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut child = program(fake.root.path())
        .args(["owner", "password"])
        .stdin(tty())
        .stdout(tty())
        .stderr(tty())
        .spawn()
        .unwrap();
    drop(pty.slave);
    let mut terminal = File::from(pty.master);
    let mut seen = String::new();
    for (question, answer) in [
        ("Current password: ", "old secret\n"),
        ("at least 10 characters: ", "new secret\n"),
        ("Once more: ", "new secret\n"),
    ] {
        let mut buffer = [0; 1024];
        while !seen.ends_with(question) {
            let count = terminal.read(&mut buffer).unwrap();
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        terminal.write_all(answer.as_bytes()).unwrap();
    }
    assert!(child.wait().unwrap().success(), "{seen}");
    assert!(!seen.contains("secret"), "{seen}");
    assert_eq!(fake.sent()[0].body["new"], "new secret");
}
