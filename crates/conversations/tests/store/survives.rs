//! A program that is killed, and a disk that is full: each in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use actionbooster_conversations::ConversationError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{add, id, open, owner, texts, titled};

/// The folder that a process of this test works in.
const FOLDER: &str = "CONVERSATIONS_TEST_FOLDER";

fn this_test(name: &str) -> [String; 4] {
    [name, "--exact", "--ignored", "--nocapture"].map(String::from)
}

fn given() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

#[tokio::test]
#[ignore = "a process that another test starts and kills"]
async fn writes_until_it_is_killed() {
    let Some(folder) = given() else { return };
    let store = open(&folder);
    let owner = owner(&store).await;
    store.put(&owner, id(1), titled("killed")).await.expect("kept");
    let first = texts(&store, &owner, 1).await.len() as u128;
    for number in first.. {
        add(&store, &owner, 1, number, &format!("{number} {}", "x".repeat(3000))).await.expect("kept");
        println!("kept {number}");
        std::io::stdout().flush().expect("told");
    }
}

#[tokio::test]
async fn a_killed_program_leaves_a_whole_file_with_all_that_was_told_as_kept() {
    let folder = tempfile::tempdir().expect("folder");
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(this_test("survives::writes_until_it_is_killed"))
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut kept = None;
        let mut told = 0;
        while told < 5 + 7 * round {
            let line = lines.next().expect("goes on").expect("a line");
            if let Some(number) = line.strip_prefix("kept ") {
                kept = Some(number.parse::<usize>().expect("a number"));
                told += 1;
            }
        }
        kill(Pid::from_raw(child.id().try_into().expect("an id")), Signal::SIGKILL).expect("killed");
        child.wait().expect("ended");
        for line in lines.map_while(Result::ok) {
            kept = line.strip_prefix("kept ").and_then(|number| number.parse().ok()).or(kept);
        }
        let store = open(folder.path());
        let owner = owner(&store).await;
        let found = texts(&store, &owner, 1).await;
        let kept = kept.expect("some were kept");
        assert!(found.len() > kept, "{} of {kept}", found.len());
        for (number, text) in found.iter().enumerate() {
            assert!(text.starts_with(&format!("{number} ")) && text.len() > 3000, "{number}");
        }
        assert!(store.put_aside().is_empty());
        store.close().await;
    }
    is_whole(folder.path());
}

fn is_whole(folder: &Path) {
    let file = rusqlite::Connection::open(folder.join("conversations.db")).expect("opens");
    let found: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checks");
    assert_eq!(found, "ok");
    file.execute("INSERT INTO text_index (text_index, rank) VALUES ('integrity-check', 1)", [])
        .expect("the index fits the turns");
}

#[tokio::test]
#[ignore = "a process that another test starts on a small disk"]
async fn writes_until_the_disk_is_full() {
    let Some(folder) = given() else { return };
    let store = open(&folder);
    let owner = owner(&store).await;
    let text = "word ".repeat(20_000);
    let mut kept = 0;
    let full = loop {
        let put = store.put(&owner, id(kept), titled("full")).await;
        match put.map(drop).and(add(&store, &owner, kept, 1, &text).await) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1000, "it never ends");
    };
    assert!(kept > 10 && matches!(full, ConversationError::Full(_)), "{kept}: {full:?}");
    let told = full.to_string();
    assert!(told.contains("the disk is full") && told.contains("boosterctl storage"), "{told}");
    // Somebody else takes what `storage` leaves free, so that SQLite itself finds nothing.
    let filler = folder.join("filler");
    std::process::Command::new("sh")
        .args(["-c", "cat /dev/zero > \"$1\"", "sh"])
        .arg(&filler)
        .status()
        .expect("ran");
    let full = add(&store, &owner, 0, 1, &"other ".repeat(20_000)).await.expect_err("no room");
    assert!(matches!(full, ConversationError::Full(_)), "{full:?}");
    for number in 0..kept {
        assert_eq!(texts(&store, &owner, number).await, [text.as_str()], "nothing is lost");
    }
    std::fs::remove_file(&filler).expect("removed");
    for number in 0..kept {
        store.remove(&owner, id(number)).await.expect("space can be freed");
    }
    store.put(&owner, id(2), titled("again")).await.expect("kept");
    add(&store, &owner, 2, 1, &text).await.expect("kept");
    store.close().await;
    is_whole(&folder);
    println!("all is well");
}

/// Only root can mount a small disk; others look at nothing here.
#[test]
fn a_full_disk_refuses_what_is_new_and_loses_nothing() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let script = "mount -t tmpfs -o size=24m tmpfs \"$1\" && folder=$1 && shift && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().expect("this program"))
        .args(this_test("survives::writes_until_the_disk_is_full"))
        .env(FOLDER, folder.path())
        .output()
        .expect("starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("all is well"), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
}
