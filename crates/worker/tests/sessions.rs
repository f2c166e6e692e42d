//! Sessions over TCP: detections, turns, idle time, kills, and clients that behave badly.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use actionbooster_wire::ai::v1 as ai;
use nix::sys::signal::{Signal, kill};
use support::{KEY, Worker, frame, init};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Intersection over union.
fn overlap(left: [f32; 4], right: [f32; 4]) -> f32 {
    let width = (left[0] + left[2]).min(right[0] + right[2]) - left[0].max(right[0]);
    let height = (left[1] + left[3]).min(right[1] + right[3]) - left[1].max(right[1]);
    let both = width.max(0.0) * height.max(0.0);
    both / (left[2] * left[3] + right[2] * right[3] - both)
}

/// What is in the picture: label, then x, y, width, height.
fn truth() -> Vec<(String, [f32; 4])> {
    let text =
        std::fs::read_to_string(support::shapes().join("sample.json")).expect("part of the repository");
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let shapes = told["objects"].as_array().expect("objects");
    let one = |shape: &serde_json::Value| {
        let side = |name: &str| shape[name].as_f64().expect("number") as f32;
        let (x1, y1, x2, y2) = (side("x1"), side("y1"), side("x2"), side("y2"));
        (shape["name"].as_str().expect("label").to_owned(), [x1, y1, x2 - x1, y2 - y1])
    };
    shapes.iter().map(one).collect()
}

#[tokio::test]
async fn the_shapes_of_a_picture_are_found_where_they_are() {
    let worker = Worker::start("").await;
    let (mut client, opened) = worker.session(init()).await;
    assert_eq!(opened.labels, ["circle", "square", "triangle", "star"]);
    assert_eq!(opened.model_id.len(), 64);
    assert_eq!(opened.providers, ["CPU"]);
    let preproc = opened.preproc.expect("told");
    assert_eq!((preproc.input_width, preproc.input_height), (160, 160));
    let result = client.look(frame(7)).await;
    assert_eq!((result.frame_id, result.ts_mono_ns, result.width, result.height), (7, 7000, 160, 160));
    let truth = truth();
    assert_eq!(result.detections.len(), truth.len(), "{:?}", result.detections);
    for (label, place) in &truth {
        let close = |found: &&ai::Detection| {
            let own = found.r#box.expect("a box");
            found.label == *label && overlap([own.x, own.y, own.width, own.height], *place) > 0.7
        };
        assert!(result.detections.iter().any(|found| close(&found)), "{label}: {:?}", result.detections);
    }
    assert!(result.timings.expect("told").inference_us > 0);
    // The same in another order of bytes.
    let mut swapped = frame(8);
    swapped.format = ai::PixelFormat::Bgr.into();
    swapped.data = support::picture().chunks(3).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect();
    assert_eq!(client.look(swapped).await.detections, result.detections);
    assert!(worker.metric("frames_processed_total").await > 1.5);
    assert!((worker.metric("worker_state").await - 3.0).abs() < 0.1);
}

#[tokio::test]
async fn only_the_classes_that_were_asked_for_are_told() {
    let worker = Worker::start("").await;
    let (mut client, _) = worker.session(ai::Init { classes: vec!["square".into()], ..init() }).await;
    let labels: BTreeSet<String> =
        client.look(frame(1)).await.detections.into_iter().map(|found| found.label).collect();
    assert_eq!(labels, BTreeSet::from(["square".to_owned()]));
    client.request(ai::request::Kind::Init(ai::Init { classes: vec!["unicorn".into()], ..init() })).await;
    let error = client.error().await;
    assert_eq!(error.code(), ai::ErrorCode::BadInit);
    assert!(error.message.contains("unicorn") && error.message.contains("circle"), "{}", error.message);
    // Nor is there a file of a session that never was.
    let unknown = ai::Init { classes: vec!["unicorn".into()], record: true, ..init() };
    client.request(ai::request::Kind::Init(unknown)).await;
    assert_eq!(client.error().await.code(), ai::ErrorCode::BadInit);
    let folder = worker.root().join("var/lib/actionbooster/worker/sessions");
    assert_eq!(std::fs::read_dir(folder).expect("folder").count(), 0);
    // The connection lives, and another Init opens a session.
    client.request(ai::request::Kind::Init(init())).await;
    assert!(matches!(client.response().await, ai::response::Kind::InitOk(_)));
}

#[tokio::test]
async fn classes_that_were_not_asked_for_take_nobody_s_place() {
    let worker = Worker::start("").await;
    for (label, _) in truth() {
        let only = ai::Init { classes: vec![label.clone()], max_detections: Some(1), ..init() };
        let (mut client, _) = worker.session(only).await;
        let found = client.look(frame(1)).await.detections;
        assert!(matches!(&found[..], [one] if one.label == label), "{label}: {found:?}");
    }
}

#[tokio::test]
async fn a_second_init_ends_the_first_session_and_end_closes_its_file() {
    let worker = Worker::start("").await;
    let (mut client, first) = worker.session(ai::Init { record: true, ..init() }).await;
    client.look(frame(1)).await;
    // Two at once: the later one counts.
    for client_name in ["second", "third"] {
        let again = ai::Init { record: true, client: client_name.into(), ..init() };
        client.request(ai::request::Kind::Init(again)).await;
    }
    let ai::response::Kind::InitOk(opened) = client.response().await else { panic!("no session") };
    assert_ne!(opened.session_id, first.session_id);
    assert!(matches!(client.response().await, ai::response::Kind::Ready(_)));
    // The earlier one may have been ready before the later one took its place.
    'seen: loop {
        client.request(ai::request::Kind::Frame(frame(2))).await;
        loop {
            match client.response().await {
                ai::response::Kind::Result(_) => break 'seen,
                ai::response::Kind::Error(error) if error.code() == ai::ErrorCode::NoSession => break,
                _ => {}
            }
        }
    }
    client.request(ai::request::Kind::End(ai::End { reason: "enough".into() })).await;
    // The other Init may have opened a session of its own before it was replaced.
    let ready = loop {
        match client.response().await {
            ai::response::Kind::Ready(ready) if ready.session_id.is_empty() => break ready,
            _ => {}
        }
    };
    assert_eq!(ready.session_id, "");
    client.request(ai::request::Kind::Frame(frame(3))).await;
    assert_eq!(client.error().await.code(), ai::ErrorCode::NoSession);
    let folder = worker.root().join("var/lib/actionbooster/worker/sessions");
    let mut reasons = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder").filter_map(Result::ok) {
        let text = std::fs::read_to_string(entry.path()).expect("file");
        let told: serde_json::Value = serde_json::from_str(&text).expect("whole JSON");
        reasons.push(told["reason"].as_str().expect("reason").to_owned());
    }
    assert!(reasons.iter().any(|reason| reason == "enough"), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason == "another Init"), "{reasons:?}");
}

#[tokio::test]
async fn sessions_take_fair_turns_at_one_shared_model() {
    let worker = Worker::start("").await;
    let mut counts = Vec::new();
    let mut clients = Vec::new();
    for number in 0..4 {
        let (client, opened) = worker.session(ai::Init { client: format!("c{number}"), ..init() }).await;
        clients.push((client, opened));
    }
    assert!(clients.windows(2).all(|pair| pair[0].1.model_id == pair[1].1.model_id));
    let until = tokio::time::Instant::now() + Duration::from_secs(3);
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|(mut client, _)| {
            tokio::spawn(async move {
                let mut count = 0_u32;
                while tokio::time::Instant::now() < until {
                    client.look(frame(u64::from(count))).await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    for task in tasks {
        counts.push(task.await.expect("task"));
    }
    let (least, most) = (counts.iter().min().expect("four"), counts.iter().max().expect("four"));
    assert!(*least > 10 && f64::from(most - least) <= f64::from(*most) * 0.1 + 2.0, "{counts:?}");
    assert!((worker.metric("model_load_seconds_count").await - 1.0).abs() < 0.1, "one model for all");
}

#[tokio::test]
async fn the_newest_frame_counts_when_a_client_sends_too_many() {
    let worker = Worker::start("").await;
    let (mut client, _) = worker.session(init()).await;
    for number in 1..=30 {
        client.request(ai::request::Kind::Frame(frame(number))).await;
    }
    let (mut seen, mut dropped) = (Vec::new(), 0);
    while seen.last() != Some(&30) {
        match client.response().await {
            ai::response::Kind::Result(result) => {
                seen.push(result.frame_id);
                dropped += result.dropped;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!(seen.len() + dropped as usize, 30, "every frame is answered or counted: {seen:?}");
}

#[tokio::test]
async fn an_idle_model_is_unloaded_and_loaded_again() {
    let worker = Worker::start("idle_timeout_s = 1\n").await;
    let (mut client, _) = worker.session(init()).await;
    client.look(frame(1)).await;
    drop(client);
    worker.until("it is idle", async || worker.metric("worker_state").await < 0.5).await;
    assert!((worker.metric("transitions_to_idle_total").await - 1.0).abs() < 0.1);
    let (mut client, _) = worker.session(init()).await;
    assert!(!client.look(frame(2)).await.detections.is_empty());
}

#[tokio::test]
async fn a_killed_worker_leaves_whole_files_and_the_next_one_works() {
    let worker = Worker::start("").await;
    let (mut client, _) = worker.session(ai::Init { record: true, ..init() }).await;
    for number in 0..20 {
        client.look(frame(number)).await;
    }
    let worker = worker.kill_and_start("").await;
    assert!(client.next().await.is_none(), "the old connection is gone");
    let folder = worker.root().join("var/lib/actionbooster/worker/sessions");
    let files: Vec<_> = std::fs::read_dir(folder).expect("folder").filter_map(Result::ok).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = std::fs::read_to_string(files[0].path()).expect("file");
    let told: serde_json::Value = serde_json::from_str(&text).expect("whole JSON");
    assert_eq!(told["frames"].as_array().map(Vec::len), Some(20));
    let (mut client, _) = worker.session(init()).await;
    client.look(frame(1)).await;
}

#[tokio::test]
async fn a_model_file_swapped_under_a_session_is_refused_and_the_session_goes_on() {
    let worker = Worker::start("").await;
    let (mut client, _) = worker.session(init()).await;
    let file = worker.root().join("var/lib/actionbooster/models/shapes/shapes.onnx");
    let mut bytes = std::fs::read(&file).expect("model");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let other = file.with_extension("new");
    std::fs::write(&other, &bytes).expect("written");
    std::fs::rename(&other, &file).expect("swapped");
    assert!(!client.look(frame(1)).await.detections.is_empty(), "what is loaded stays");
    let mut second = worker.connect().await;
    second.request(ai::request::Kind::Init(init())).await;
    let error = second.error().await;
    assert_eq!(error.code(), ai::ErrorCode::ModelUnusable);
    assert!(error.message.contains("SHA-256"), "{}", error.message);
    assert!(!client.look(frame(2)).await.detections.is_empty());
}

#[tokio::test]
async fn frames_that_are_not_what_they_say_are_refused_and_the_next_one_counts() {
    let worker = Worker::start("").await;
    let (mut client, _) = worker.session(init()).await;
    let bomb: &[u8] = &[
        0xff, 0xd8, 0xff, 0xc0, 0, 17, 8, 0xff, 0xdc, 0xff, 0xdc, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1,
        0xff, 0xd9,
    ];
    let jpeg = |data: &'static [u8]| ai::Frame {
        format: ai::PixelFormat::Jpeg.into(),
        width: 0,
        height: 0,
        data: data.into(),
        ..frame(5)
    };
    let cases = [
        ai::Frame { width: 159, ..frame(5) },
        ai::Frame { width: 1 << 31, height: 1 << 31, ..frame(5) },
        ai::Frame { format: 99, ..frame(5) },
        ai::Frame { format: 0, ..frame(5) },
        jpeg(bomb),
        jpeg(b""),
        jpeg(b"\xff\xd8\xff\xe0 no picture"),
    ];
    for bad in cases {
        client.request(ai::request::Kind::Frame(bad.clone())).await;
        let error = client.error().await;
        assert_eq!(
            (error.code(), error.frame_id, error.fatal),
            (ai::ErrorCode::BadFrame, 5, false),
            "{bad:?}"
        );
    }
    assert!(!client.look(frame(6)).await.detections.is_empty());
}

#[tokio::test]
async fn bytes_that_are_no_protocol_end_the_connection_with_a_reason() {
    let worker = Worker::start("").await;
    for (bytes, code) in [
        (u32::MAX.to_le_bytes().to_vec(), ai::ErrorCode::TooLarge),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), ai::ErrorCode::TooLarge),
        (vec![3, 0, 0, 0, 0xff, 0xff, 0xff], ai::ErrorCode::BadMessage),
        (vec![0, 0, 0, 0], ai::ErrorCode::BadMessage),
        // A response, which only workers send: field 2 of the envelope, empty.
        (vec![2, 0, 0, 0, 0x12, 0], ai::ErrorCode::BadMessage),
    ] {
        let mut client = worker.connect().await;
        client.0.get_mut().write_all(&bytes).await.expect("sent");
        let error = client.error().await;
        assert_eq!((error.code(), error.fatal), (code, true), "{bytes:?}");
        assert!(client.next().await.is_none(), "it hangs up");
    }
    let (mut client, _) = worker.session(init()).await;
    assert!(!client.look(frame(1)).await.detections.is_empty(), "others go on");
}

#[tokio::test]
async fn half_a_frame_and_then_silence_is_given_up() {
    let worker = Worker::start("").await;
    let mut stream = TcpStream::connect(worker.address).await.expect("connected");
    stream.write_all(&1000_u32.to_le_bytes()).await.expect("sent");
    stream.write_all(&[0; 500]).await.expect("sent");
    let mut told = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut told));
    read.await.expect("in time").expect("hung up");
    assert!(String::from_utf8_lossy(&told).contains("nothing was heard for 10 s"));
}

#[tokio::test]
async fn a_model_that_is_not_there_or_none_is_told() {
    let worker = Worker::start("").await;
    let folder = worker.root().join("var/lib/actionbooster/models/broken");
    std::fs::create_dir_all(&folder).expect("folder");
    let manifest = std::fs::read_to_string(support::shapes().join("manifest.toml")).expect("manifest");
    let size = std::fs::metadata(support::shapes().join("shapes.onnx")).expect("model").len();
    let manifest = manifest.replace("id = \"shapes\"", "id = \"broken\"").replace(&size.to_string(), "9");
    std::fs::write(folder.join("manifest.toml"), manifest).expect("written");
    std::fs::write(folder.join("shapes.onnx"), b"not onnx!").expect("written");
    let mut client = worker.connect().await;
    for (model, code, word) in [
        ("cats", ai::ErrorCode::UnknownModel, "shapes"),
        ("broken", ai::ErrorCode::ModelUnusable, "no ONNX"),
        ("../shapes", ai::ErrorCode::UnknownModel, "no detector"),
    ] {
        client.request(ai::request::Kind::Init(ai::Init { model: model.into(), ..init() })).await;
        let error = client.error().await;
        assert_eq!(error.code(), code, "{}", error.message);
        assert!(error.message.contains(word), "{}", error.message);
    }
    let wrong = ai::Init { input_width: 320, input_height: 320, ..init() };
    client.request(ai::request::Kind::Init(wrong)).await;
    assert!(client.error().await.message.contains("cannot be 320"));
}

#[tokio::test]
async fn beyond_loopback_a_token_is_needed() {
    let worker = Worker::start("listen = \"0.0.0.0:PORT\"\n").await;
    for token in ["", "ab_wrong"] {
        let mut client = worker.connect().await;
        client.request(ai::request::Kind::Init(ai::Init { token: token.into(), ..init() })).await;
        let error = client.error().await;
        assert_eq!((error.code(), error.fatal), (ai::ErrorCode::Unauthorised, true));
    }
    let (mut client, _) = worker.session(ai::Init { token: KEY.into(), ..init() }).await;
    assert!(!client.look(frame(1)).await.detections.is_empty());
}

#[tokio::test]
async fn a_model_that_takes_long_to_load_keeps_nobody_from_another() {
    let root = support::prepare();
    support::add_model(root.path(), "other", &support::shapes().join("shapes.onnx"), "");
    let worker = Worker::start_as(root, "", std::process::Command::new(support::PROGRAM)).await;
    worker.until("who asked for the library is gone", async || worker.detectors().is_empty()).await;
    let mut slow = worker.connect().await;
    slow.request(ai::request::Kind::Init(ai::Init { model: "other".into(), ..init() })).await;
    // Its process stands still as soon as it is there, before it has loaded anything.
    let loading = tokio::time::timeout(support::LIMIT, async {
        loop {
            if let Some(loading) = worker.detectors().first() {
                break *loading;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let loading = loading.await.expect("it is being loaded");
    kill(loading, Signal::SIGSTOP).expect("signal");
    let (mut client, _) = worker.session(init()).await;
    assert!(!client.look(frame(1)).await.detections.is_empty());
    assert!(
        (worker.metric("model_load_seconds_count").await - 1.0).abs() < 0.1,
        "the other one is not there yet"
    );
    // Whoever wants the same one waits for it, and it is loaded once.
    let mut same = worker.connect().await;
    same.request(ai::request::Kind::Init(ai::Init { model: "other".into(), ..init() })).await;
    kill(loading, Signal::SIGCONT).expect("signal");
    for client in [&mut slow, &mut same] {
        assert!(matches!(client.response().await, ai::response::Kind::InitOk(_)));
    }
    assert!((worker.metric("model_load_seconds_count").await - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn one_client_has_its_share_of_sessions_and_others_have_theirs() {
    let worker = Worker::start("most_sessions = 3\nclient_sessions = 2\n").await;
    let own = || ai::Init { token: KEY.into(), ..init() };
    let (_first, _) = worker.session(init()).await;
    let (mut second, _) = worker.session(init()).await;
    let mut third = worker.connect().await;
    third.request(ai::request::Kind::Init(init())).await;
    let error = third.error().await;
    assert_eq!((error.code(), error.fatal), (ai::ErrorCode::Busy, false));
    assert!(
        error.message.contains("2 sessions open") && error.message.contains("client_sessions"),
        "{error:?}"
    );
    // A key is another client.
    third.request(ai::request::Kind::Init(own())).await;
    assert!(matches!(third.response().await, ai::response::Kind::InitOk(_)));
    assert!(matches!(third.response().await, ai::response::Kind::Ready(_)));
    let mut fourth = worker.connect().await;
    fourth.request(ai::request::Kind::Init(own())).await;
    let error = fourth.error().await;
    assert!(
        error.message.contains("3 sessions are open") && error.message.contains("most_sessions"),
        "{error:?}"
    );
    let picture = std::fs::read(support::shapes().join("sample.jpg")).expect("part of the repository");
    let (status, told) = worker.http("POST /v1/detection HTTP/1.1", &picture).await;
    assert!(status == 503 && told.contains("most_sessions"), "{status} {told}");
    // Its place is free as soon as a session has ended.
    second.request(ai::request::Kind::End(ai::End::default())).await;
    assert!(matches!(second.response().await, ai::response::Kind::Ready(_)));
    fourth.request(ai::request::Kind::Init(own())).await;
    assert!(matches!(fourth.response().await, ai::response::Kind::InitOk(_)));
}

#[tokio::test]
async fn no_more_models_stay_loaded_than_may_and_the_longest_idle_one_goes() {
    let root = support::prepare();
    for id in ["b", "c", "d"] {
        support::add_model(root.path(), id, &support::shapes().join("shapes.onnx"), "");
    }
    let config = "most_models = 2\nclient_models = 2\n";
    let worker = Worker::start_as(root, config, std::process::Command::new(support::PROGRAM)).await;
    let of = |model: &str| ai::Init { model: model.into(), ..init() };
    let (first, _) = worker.session(init()).await;
    let (second, _) = worker.session(of("b")).await;
    let mut third = worker.connect().await;
    let refused = async |client: &mut support::Client, init| {
        client.request(ai::request::Kind::Init(init)).await;
        let error = client.error().await;
        assert_eq!(error.code(), ai::ErrorCode::Busy, "{error:?}");
        error.message
    };
    let told = refused(&mut third, of("c")).await;
    assert!(told.contains("uses 2 models") && told.contains("client_models"), "{told}");
    let told = refused(&mut third, ai::Init { token: KEY.into(), ..of("c") }).await;
    assert!(told.contains("2 models are in use") && told.contains("most_models"), "{told}");
    // The first becomes idle before the second, and each goes for the next.
    drop(first);
    worker.until("it is idle", async || sessions(&worker, "shapes").await == Some(0)).await;
    drop(second);
    worker.until("it is idle", async || sessions(&worker, "b").await == Some(0)).await;
    let (_third, _) = worker.session(of("c")).await;
    assert_eq!(sessions(&worker, "shapes").await, None, "it was idle longest");
    assert_eq!(sessions(&worker, "b").await, Some(0));
    assert_eq!(worker.detectors().len(), 2);
}

/// Sessions at a model; nothing when it is not loaded.
async fn sessions(worker: &Worker, id: &str) -> Option<u64> {
    let (_, told) = worker.http("GET /api/v1/detectors HTTP/1.1", b"").await;
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let all = told["detectors"].as_array().expect("list");
    let one = all.iter().find(|detector| detector["id"] == id).expect("in the store");
    (one["loaded"] == true).then(|| one["sessions"].as_u64().expect("a number"))
}
