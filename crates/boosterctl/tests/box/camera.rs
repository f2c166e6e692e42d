//! Cameras from the command line, on a real agent with a real worker.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemons::{RealBox, shipped};
use crate::support::{FakeBox, JSON, Run};

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A box with all that a camera needs, and a folder of pictures for it.
fn seeing() -> (RealBox, tempfile::TempDir) {
    let pictures = tempfile::tempdir().unwrap();
    std::fs::copy(shipped("tests/models/shapes/sample.jpg"), pictures.path().join("a.jpg")).unwrap();
    (RealBox::new().with_shapes().with_worker(None).with_agent(), pictures)
}

/// What the box says about the camera `door`.
fn told(real: &RealBox) -> Value {
    let run = real.run(&["camera", "show", "door", "--json"]);
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

/// What a program prints, line by line, until it ends.
fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

fn done(run: Run) -> String {
    assert_eq!(run.code, 0, "{run:?}");
    run.stdout
}

#[test]
fn a_camera_is_added_watched_changed_and_removed() {
    let (real, pictures) = seeing();
    assert!(done(real.run(&["camera", "list"])).contains("There are no cameras"));
    let mut watching =
        real.command(&["camera", "events"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = lines_of(watching.stdout.take().unwrap());
    let folder = pictures.path().to_str().unwrap();
    let options = "--class circle --class square --threshold 0.4 --dwell-ms 200 --silence-ms 500 --post-roll-ms 200 \
                   --record true --name Front";
    let mut arguments = vec!["camera", "add", "door", "--folder", folder, "--model", "shapes"];
    arguments.extend(options.split_whitespace());
    let added = done(real.run(&arguments));
    for words in [
        "door was added.",
        "source        folder /",
        "circle, square",
        "threshold     0.40\n",
        "clips         yes",
    ] {
        assert!(added.contains(words), "no {words:?} in\n{added}");
    }

    // What it sees comes a line at a time. The events may have begun after the first ones.
    let until = |words: &str| loop {
        let line = lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no event with {words:?} in time"));
        if line.contains(words) {
            return line;
        }
    };
    let seen = until("door  sees ");
    assert!(seen.contains("circle 0.9") && !seen.contains("triangle"), "{seen}");
    until(" begins");

    let file = pictures.path().parent().unwrap().join(format!("snapshot-{}.jpg", std::process::id()));
    done(real.run(&["camera", "snapshot", "door", file.to_str().unwrap()]));
    let picture = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(picture.starts_with(&[0xff, 0xd8]) && picture.ends_with(&[0xff, 0xd9]));

    // Another setting, and everything else as it was.
    let before = told(&real);
    let changed = done(real.run(&["camera", "set", "door", "--fps-idle", "3", "--all-classes"]));
    assert!(
        changed.contains("3 a second, 12 in a session") && changed.contains("classes       all"),
        "{changed}"
    );
    let after = told(&real);
    for setting in ["name", "source", "model", "threshold", "dwell_ms", "record", "enabled"] {
        assert_eq!(before[setting], after[setting], "{setting}");
    }
    until("triangle");
    until(" begins");

    assert_eq!(done(real.run(&["camera", "disable", "door"])), "door is off.\n");
    until(" ends: ");
    assert!(done(real.run(&["camera", "list"])).contains("door  off"), "it is off");
    assert_eq!(real.run(&["camera", "snapshot", "door", "/dev/null"]).code, 1, "nothing is seen");
    watching.kill().unwrap();
    watching.wait().unwrap();

    let sessions: Value =
        serde_json::from_str(&done(real.run(&["camera", "sessions", "door", "--json"]))).unwrap();
    let session = sessions["sessions"][0]["session"].as_str().unwrap();
    let listed = done(real.run(&["camera", "sessions", "door"]));
    assert!(listed.contains(session) && listed.contains("circle, square, triangle"), "{listed}");
    let shown = done(real.run(&["camera", "session", "door", session]));
    assert!(shown.contains("SEEN") && shown.contains("circle"), "{shown}");

    assert_eq!(done(real.run(&["camera", "enable", "door"])), "door is on.\n");
    assert_eq!(done(real.run(&["camera", "remove", "door"])), "door is removed; its sessions stay.\n");
    assert!(done(real.run(&["camera", "sessions", "door"])).contains(session), "they stay");
}

#[test]
fn what_the_box_refuses_is_told_and_what_makes_no_sense_is_not_sent() {
    let (real, pictures) = seeing();
    let folder = pictures.path().to_str().unwrap();
    let add = ["camera", "add", "door", "--folder", folder, "--model", "shapes", "--disabled"];
    done(real.run(&add));
    assert_eq!(told(&real)["running"], json!(false));
    for (arguments, code, words) in [
        (&add[..], 1, "There is a camera door already"),
        (&["camera", "add", "Door", "--v4l2", "/dev/video0", "--model", "shapes"], 1, "id"),
        (&["camera", "add", "yard", "--v4l2", "/dev/sda", "--model", "shapes"], 1, "source"),
        (&["camera", "add", "yard", "--model", "shapes"], 2, "--rtsp"),
        (
            &["camera", "add", "yard", "--v4l2", "/dev/video0", "--file", "/a.mp4", "--model", "shapes"],
            2,
            "--file",
        ),
        (&["camera", "set", "door", "--threshold", "7"], 1, "threshold"),
        (&["camera", "set", "door"], 2, "say what to change"),
        (&["camera", "set", "door", "--mask", "0 1"], 2, "--mask"),
        (&["camera", "show", "gate"], 1, "There is no camera gate"),
        (&["camera", "enable", "gate"], 1, "There is no camera gate"),
        (&["camera", "events", "gate"], 1, "There is no camera gate"),
        (&["camera", "session", "door", "20260101-000000"], 1, "There is no session"),
        (&["camera", "session", "door", "../door"], 2, "is no session"),
        (&["camera", "remove", "../keys"], 2, "no name of a camera"),
    ] {
        let run = real.run(arguments);
        assert_eq!(run.code, code, "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(words), "{arguments:?}: {run:?}");
    }
}

#[test]
fn a_password_is_never_shown_and_survives_a_change() {
    let (real, _pictures) = seeing();
    let url = "rtsp://ana@127.0.0.1:9/live";
    let mut add = real.command(&["camera", "add", "door", "--rtsp", url, "--model", "shapes", "--disabled"]);
    let added = done(Run::of(add.env("BOOSTER_CAMERA_PASSWORD", "p@ss").output().unwrap()));
    assert!(added.contains("rtsp://ana:***@127.0.0.1:9/live"), "{added}");
    let kept = real.root().join("var/lib/actionbooster/cameras/door/camera.json");
    let url_of = || {
        let camera: Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
        camera["source"]["url"].as_str().unwrap().to_owned()
    };
    let is_sealed = |url: &str| url.starts_with("rtsp://ana:sealed.") && url.ends_with("@127.0.0.1:9/live");
    let first = url_of();
    assert!(is_sealed(&first) && !first.contains("p%40ss"), "{first}");
    done(real.run(&["camera", "set", "door", "--threshold", "0.5"]));
    assert!(is_sealed(&url_of()), "{}", url_of());
    let mut set = real.command(&["camera", "set", "door", "--rtsp", url, "--password-stdin"]);
    let mut child = set.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"other\n").unwrap();
    let shown = done(Run::of(child.wait_with_output().unwrap()));
    assert!(!shown.contains("other"), "{shown}");
    let second = url_of();
    assert!(is_sealed(&second) && !second.contains("other@"), "{second}");
    // The password that is kept does not go to another host.
    let hidden = "rtsp://ana:***@127.0.0.2:9/live";
    let run = real.run(&["camera", "set", "door", "--rtsp", hidden]);
    assert!(run.code == 1 && run.stderr.contains("write the password again"), "{run:?}");
    assert_eq!(url_of(), second);
}

#[test]
fn events_that_end_are_a_failure() {
    let events = "event: ai.detection\ndata: {\"at\":\"2026-11-21T14:03:05Z\",\"camera\":\"door\",\
                  \"detections\":[{\"label\":\"dog\",\"score\":0.5}]}\n\n";
    let fake = FakeBox::new(&[(200, crate::support::EVENTS, events)]);
    let started = Instant::now();
    let run = fake.run(&["camera", "events"]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (1, "2026-11-21 14:03:05Z  door  sees dog 0.50\n"),
        "{run:?}"
    );
    assert!(run.stderr.contains("ended the events") && started.elapsed() < LIMIT, "{run:?}");
    let fake = FakeBox::new(&[(200, JSON, r#"{"id":"door"}"#), (200, crate::support::EVENTS, events)]);
    let run = fake.run(&["camera", "events", "door", "--json"]);
    let line: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(line["detections"][0]["label"], "dog");
    assert_eq!(fake.sent()[1].line, "GET /api/v1/events");
}
